"""The images of this user: those in the store, and whatever a reference can bring into it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from lxsandbox.errors import ImageError
from lxsandbox.images.blobs import Blobs, Part
from lxsandbox.images.building import Workshops
from lxsandbox.images.config import ImageConfig, parse_config
from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import Descriptor, Manifest, Platform
from lxsandbox.images.fetching import FETCHES
from lxsandbox.images.platforms import host_platform
from lxsandbox.images.references import DigestReference, Reference, RegistryReference
from lxsandbox.images.registry.progress import Progress, Silent
from lxsandbox.images.store import Lease, Store, check_name
from lxsandbox.images.store.folder import exclusive
from lxsandbox.images.transports import FetchContext, Pull, Transports

__all__ = ["NAMED", "HeldBlobs", "HeldImage", "Library", "store_name"]

NAMED = ("docker", "mmdebstrap")
"""Transports whose images the store keeps by name. What is in a file is asked of the file: it may be something else tomorrow."""


_MADE = ("build", "mmdebstrap")  # here, and that takes long: by one process at a time
_MAKING_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldImage:
    """A complete image, held in the store until `close`, or the end of a `with`."""

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig
    lease: Lease

    def close(self) -> None:
        """Let go of it: from now on it may be removed."""
        self.lease.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """How an image is wanted; `above` are the references that are being made of it."""

    pull: Pull
    offline: bool
    progress: Progress
    fresh: bool
    above: tuple[str, ...] = ()


class Library:
    """One store, and the transports that fill it. For several threads at once."""

    def __init__(
        self, store: Store | None = None, *, platform: Platform | None = None, workshops: Workshops | None = None
    ) -> None:
        """Without `workshops`, of what is to be built only that is there whose steps are all stored."""
        self.store = store or Store()
        self.platform = platform or host_platform()
        self._workshops = workshops

    @functools.cached_property
    def transports(self) -> Transports:
        """The built-in ones, and those of installed distributions."""
        return Transports(FETCHES)

    def parse(self, text: str, *, base: str = "/") -> Reference:
        """The reference that `text` is. Raises ImageError."""
        return self.transports.parse(text, base=base)

    def new_name(self, text: str) -> RegistryReference:
        """What an image is to be called from now on. Raises ImageError for what is no name of its own."""
        reference = self.parse(text)
        if reference.transport == "host":
            raise ImageError("`host` is this machine itself, and no image", hint="`lxsandbox image ls` lists the images")
        if not isinstance(reference, RegistryReference):
            raise ImageError(f"{text!r:.300} is no name for an image", hint="a name is [HOST/]NAME[:TAG], as in team/app:1")
        if reference.digest:
            raise ImageError(f"{text!r:.300} has a digest, which nobody can choose", hint=f"leave @{reference.digest} out")
        check_name(str(reference))
        return reference

    def get(
        self,
        reference: Reference,
        *,
        pull: Pull = "missing",
        offline: bool = False,
        progress: Progress | None = None,
        fresh: bool = False,
    ) -> HeldImage:
        """The image, fetched where the store lacks it, or as `pull` says. Raises ImageError, OSError on a full disk.

        What is built is built with no step taken from the store when it is to be `fresh`.
        """
        return self.got(reference, _Asked(pull=pull, offline=offline, progress=progress or Silent(), fresh=fresh))

    def got(self, reference: Reference, asked: _Asked) -> HeldImage:
        """As `get`."""
        with contextlib.ExitStack() as undo:
            lease = undo.enter_context(self.store.lease())
            known = self._known(reference, lease)
            if known is None or (asked.pull == "always" and not asked.offline and reference.transport in NAMED):
                known = self._fetched(reference, lease, asked)
            held = self._held(known, reference.familiar(), lease)
            undo.pop_all()
            return held

    def of(self, descriptor: Descriptor) -> HeldImage:
        """An image in the store, by its manifest's descriptor. Raises ImageError where a part of it is missing."""
        with contextlib.ExitStack() as undo:
            lease = undo.enter_context(self.store.lease(descriptor))
            held = self._held(descriptor, descriptor.digest, lease)
            undo.pop_all()
            return held

    def _held(self, descriptor: Descriptor, name: str, lease: Lease) -> HeldImage:
        manifest = self.store.manifest(descriptor)
        config = parse_config(self.store.config_bytes(manifest), what=f"config of {name}")
        _check_layers(name, manifest, config)
        return HeldImage(descriptor=descriptor, manifest=manifest, config=config, lease=lease)

    def _known(self, reference: Reference, lease: Lease) -> Descriptor | None:
        if isinstance(reference, DigestReference):
            return self._with_digest(reference.digest, lease)
        name = store_name(reference)
        named = None if name is None else self.store.named(name)
        if named is None and isinstance(reference, RegistryReference) and reference.digest:
            # By whatever name it came: what has the digest is the image.
            named = next((each for each in self.store.names().values() if each.digest == reference.digest), None)
        if named is None:
            return None
        lease.add([named])
        return named if self.store.complete(named) else None

    def _with_digest(self, digest: str, lease: Lease) -> Descriptor:
        lease.add([digest])
        descriptor = self.store.with_digest(digest)
        if descriptor is not None:
            lease.add([descriptor])
            if self.store.complete(descriptor):
                return descriptor
        hint = "what has no name goes with `lxsandbox image prune`, unless a run uses it: make it anew, and give it a name"
        raise ImageError(f"there is no image {digest} in the store", hint=hint)

    def _fetched(self, reference: Reference, lease: Lease, asked: _Asked) -> Descriptor:
        if reference.transport in NAMED and (asked.offline or asked.pull == "never"):
            why = "this run is offline" if asked.offline else 'pull="never"'
            hint = f"fetch it before, with the network there: `lxsandbox image pull '{reference.familiar()}'`"
            raise ImageError(f"image {reference.familiar()} is not in the store, and {why}", hint=hint)
        with contextlib.ExitStack() as held:
            shelf = _Shelf(self, replace(asked, above=(*asked.above, str(reference))), held)
            context = FetchContext(
                blobs=HeldBlobs(self.store.folder, lease),
                platform=self.platform,
                progress=asked.progress,
                offline=asked.offline,
                pull=asked.pull,
                shelf=shelf,
                workshops=self._workshops,
                fresh=asked.fresh,
            )
            name = store_name(reference)
            if reference.transport not in _MADE:
                found = self.transports.fetch(reference, context)
                if reference.transport == "docker":
                    self._check_base(reference, found)
                return self._named(name, found, lease)
            lock = f"{reference.transport}-{digest_of(str(reference).encode()).partition(':')[2][:24]}"
            with exclusive(self.store.folder, lock, at_most_seconds=_MAKING_SECONDS):  # who waits finds it made
                return self._known(reference, lease) or self._named(name, self.transports.fetch(reference, context), lease)

    def _check_base(self, reference: Reference, found: Descriptor) -> None:
        """Raises ImageError for an image of a registry's that would have the host's files: that is not for others to choose."""
        manifest = self.store.manifest(found)
        if parse_config(self.store.config_bytes(manifest), what=f"config of {reference.familiar()}").over_host:
            raise ImageError(
                f"image {reference.familiar()} lies over the files of the host that it runs on, and comes from a registry",
                hint="if you trust it, copy it into a file, say with skopeo, and then: `lxsandbox image import FILE NAME`",
            )

    def _named(self, name: str | None, found: Descriptor, lease: Lease) -> Descriptor:
        lease.add([found])
        if name is not None:
            self.store.tag(name, found)
        return found


class _Shelf:
    """See `transports.Shelf`. What it gives is held until `held` is closed."""

    def __init__(self, library: Library, asked: _Asked, held: contextlib.ExitStack) -> None:
        self._library = library
        self._asked = asked
        self._held = held

    def parse(self, text: str, base: str) -> Reference:
        return self._library.parse(text, base=base)

    def image(self, reference: Reference) -> Descriptor:
        if str(reference) in self._asked.above:
            raise ImageError(f"image {reference.familiar()} is to be made of itself", hint="name another image, or a stage")
        return self._held.enter_context(self._library.got(reference, self._asked)).descriptor

    def named(self, name: str) -> Descriptor | None:
        store = self._library.store
        found = store.named(name)
        if found is None:
            return None
        self._held.enter_context(store.lease(found))
        return found if store.complete(found) else None

    def name(self, name: str, descriptor: Descriptor) -> None:
        self._library.store.tag(name, descriptor)


class HeldBlobs(Blobs):
    """Blobs that are held before they are looked for: what is found, or fetched, is not removed by others meanwhile."""

    def __init__(self, folder: str, lease: Lease) -> None:
        super().__init__(folder)
        self._lease = lease
        self._held: set[str] = set()

    def has(self, digest: str) -> bool:
        self._hold([digest])
        return super().has(digest)

    @contextlib.contextmanager
    def fetching(self, digest: str, size: int) -> Generator[Part | None]:
        self._hold([digest])
        with super().fetching(digest, size) as part:
            yield part

    def add_stream(self, blocks: Iterable[bytes | memoryview], *, hold: Callable[[str], None] | None = None) -> tuple[str, int]:
        def both(digest: str) -> None:
            self._hold([digest])
            if hold is not None:
                hold(digest)

        return super().add_stream(blocks, hold=both)

    def _hold(self, digests: Iterable[str]) -> None:
        new = [digest for digest in digests if digest not in self._held]
        if new:
            self._lease.add(new)
            self._held.update(new)


def store_name(reference: Reference) -> str | None:
    """What the image is called in the store; None for what is in a file."""
    if reference.transport not in NAMED:
        return None
    text = str(reference)
    if reference.transport == "docker":
        return text
    # An image's name has no `?` and `&`. What is asked for is told apart by its digest, and users see which suite it is.
    suite = text.partition("?")[0].replace(":", "/")
    return f"{suite}:{digest_of(text.encode()).partition(':')[2][:12]}"


def _check_layers(name: str, manifest: Manifest, config: ImageConfig) -> None:
    if len(manifest.layers) != len(config.diff_ids):
        counts = f"{len(manifest.layers)} layers, and its configuration names {len(config.diff_ids)}"
        raise ImageError(f"image {name} has {counts}", hint="whoever made it must make it anew")
