"""The store of images: what is there, under which names, who uses it, and what of it may go."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from lxsandbox.errors import ImageError
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.digests import check_digest
from lxsandbox.images.documents import LARGEST_DOCUMENT_BYTES, Descriptor, Index, Manifest, parse_manifest
from lxsandbox.images.store.folder import cache_folder, exclusive, open_layout
from lxsandbox.images.store.layers import Layers, is_layer_key, layer_key
from lxsandbox.images.store.leases import Held, Lease, Leases
from lxsandbox.images.store.names import Names, check_name
from lxsandbox.images.store.prune import NOTHING_STAYS, Pruned, StoredImage, Usage, images_to_go, last_use, union
from lxsandbox.images.store.reach import Reach, config_bytes, document, is_complete, reach_of, sizes_of
from lxsandbox.rootfs.removal import remove_tree

__all__ = ["Sizes", "Store"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Bytes of an image's blobs and unpacked layers: those of it alone, and those that other named images are made of too."""

    own: int
    shared: int


def _remove_as_this_user(path: str) -> None:
    parent = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_tree(parent, os.path.basename(path))
    finally:
        os.close(parent)


class Store:
    """The images in one folder, which is an OCI image layout. Threads and processes may use it at once.

    Whoever puts an image together, or runs one, first takes a lease on it and then looks what is there: what neither a name nor a
    lease reaches may go at any time. `remove` removes a folder with an unpacked layer, whose files may belong to ids that only
    the spawner can act for; the default can do what this user can.
    """

    def __init__(self, folder: str | None = None, *, remove: Callable[[str], None] = _remove_as_this_user) -> None:
        """Open the store in `folder`, or `$XDG_CACHE_HOME/lxsandbox`. Raises ImageError when that is not safe to use."""
        self.folder = cache_folder() if folder is None else os.path.abspath(folder)
        open_layout(self.folder)
        self.blobs = Blobs(self.folder)
        self._names = Names(self.folder, self._alone)
        self._names.make()
        self._leases = Leases(self.folder, self._alone)
        self._layers = Layers(self.folder, remove)

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        return exclusive(self.folder, "store")

    # Names

    def names(self) -> Mapping[str, Descriptor]:
        """Every name, and what it stands for. Raises ImageError when the list was damaged: it is kept aside and begun anew."""
        return self._names.read()

    def named(self, name: str) -> Descriptor | None:
        """What the name stands for. Raises ImageError as `names` does."""
        return self._names.read().get(name)

    def tag(self, name: str, descriptor: Descriptor) -> None:
        """Let `name` stand for the image, whatever it stood for. Raises ImageError unless all of the image is here."""
        check_name(name)
        with self._alone():
            if not self.complete(descriptor):
                hint = "fetch it again; who fetches must hold a lease on it meanwhile"
                raise ImageError(f"{descriptor.digest} cannot be named {name}: a part of it is missing", hint=hint)
            self._names.write({**self._names.read_locked(), name: descriptor}.items())
        self._touch(descriptor)

    def untag(self, name: str) -> bool:
        """Let the name go; the image stays until `prune`. Whether there was one. Raises ImageError as `names` does."""
        with self._alone():
            names = self._names.read_locked()
            if names.pop(name, None) is None:
                return False
            self._names.write(names.items())
        return True

    # Images

    def with_digest(self, digest: str) -> Descriptor | None:
        """The image whose manifest, or index, has this digest; None where there is none. Raises ImageError for another blob."""
        if not self.blobs.has(digest):
            return None
        data = self.blobs.read(digest, at_most=LARGEST_DOCUMENT_BYTES)
        found = parse_manifest(data, what=f"manifest {digest}")
        return Descriptor(media_type=found.media_type, digest=digest, size=len(data))

    def document(self, descriptor: Descriptor) -> Manifest | Index:
        """The manifest or index that `descriptor` is of, verified. Raises ImageError."""
        return document(self.blobs, descriptor)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """The manifest that `descriptor` is of, verified. Raises ImageError, also when it is of an index."""
        found = self.document(descriptor)
        if isinstance(found, Index):
            platforms = ", ".join(str(each.platform) for each in found.manifests if each.platform) or "none said"
            raise ImageError(f"{descriptor.digest} is several images, for platforms {platforms}", hint="choose one of them")
        return found

    def config_bytes(self, manifest: Manifest) -> bytes:
        """The configuration of the image, verified, as the bytes that it came in. Raises ImageError."""
        return config_bytes(self.blobs, manifest)

    def complete(self, descriptor: Descriptor) -> bool:
        """Whether all blobs of the image are here; of an index, one image at least, and none in part.

        The manifest is verified; of other blobs the size is compared, and one of another size, when it is damaged, removed.
        """
        return is_complete(self.blobs, descriptor)

    def sizes(self, descriptor: Descriptor) -> Sizes:
        """How large the image is. Raises ImageError as `names` does."""
        blobs, layers = self._stored()
        reach = reach_of(self.blobs, [descriptor])
        others = reach_of(self.blobs, [each for each in self.names().values() if each.digest != descriptor.digest])
        own = sizes_of(
            reach,
            {digest: size for digest, size in blobs.items() if digest not in others.blobs},
            {key: size for key, size in layers.items() if not others.has_layer(key)},
        )
        return Sizes(own=own, shared=sizes_of(reach, blobs, layers) - own)

    # Unpacked layers

    def layer(self, diff_id: str, unpack: Callable[[str], None], *, ids: str) -> str:
        """The folder with the layer's files. `unpack(folder)` fills a new one, in one process, when there is none that is whole.

        `ids` names how owners were shifted (`host`, `single`, …): each has a folder of its own. What `unpack` raises is passed
        on, and nothing is left. Hold `layer_key(diff_id, ids=ids)`, or the image, while the folder is in use. Raises ImageError
        when another process takes over ten minutes.
        """
        return self._layers.make(layer_key(diff_id, ids=ids), unpack)

    def new_layer(self, fill: Callable[[str], str], *, ids: str) -> str:
        """The folder of a layer whose digest nobody knows yet: `fill(folder)` fills a new one, and returns its diff id.

        The diff id must be held by then. What `fill` raises is passed on, and nothing is left.
        """
        return self._layers.add(fill, ids=ids)

    # Use

    def hold(self, held: Iterable[Held]) -> Lease:
        """Keep what is held from being removed until the lease is closed: images by descriptor, blobs by digest, layers by key.

        It need not be there yet. Raises ImageError for what is none of them, OSError when the lease cannot be written.
        """
        listed = list(held)
        for each in listed:
            if isinstance(each, Descriptor):
                self._touch(each)
            elif not is_layer_key(each):
                check_digest(each, what="what is to be held,")
        return self._leases.take(listed)

    def lease(self, *held: Held) -> Lease:
        """As `hold`, for `with store.lease(descriptor):`."""
        return self.hold(held)

    def _touch(self, descriptor: Descriptor) -> None:
        with contextlib.suppress(FileNotFoundError):  # it is being fetched
            os.utime(self.blobs.path(descriptor.digest))

    # Room

    def usage(self) -> Usage:
        """What there is. Raises ImageError as `names` does."""
        blobs, layers = self._stored()
        return Usage(
            images=len({descriptor.digest for descriptor in self.names().values()}),
            blobs=len(blobs),
            blob_bytes=sum(blobs.values()),
            layers=len(layers),
            layer_bytes=sum(layers.values()),
            part_bytes=sum(map(self.blobs.part_size, self.blobs.parts())),
        )

    def keep_to(self, at_most_bytes: int, *, spare_seconds: float) -> Pruned | None:
        """Prune to that size where there is more; what was used, or came, within the last `spare_seconds` stays all the same.

        None where there is no more. Raises as `prune`.
        """
        if self.usage().bytes <= at_most_bytes:
            return None
        return self.prune(at_most_bytes=at_most_bytes, unused_since=time.time() - spare_seconds)

    def prune(
        self,
        *,
        all: bool = False,  # noqa: A002 - as the command has it
        at_most_bytes: int | None = None,
        unused_since: float = math.inf,
    ) -> Pruned:
        """Remove what no name and no lease reaches, and what killed processes left.

        With `at_most_bytes`, also the least recently used images until what is named and leased is no larger; with `all`, every
        image. Nothing goes that is leased, being fetched or being unpacked, nor what was used or came since `unused_since`,
        seconds since the epoch. May be killed at any point. Raises ImageError when a damaged list of names was kept aside,
        unless `all`; and when a layer cannot be removed, after all else has been.
        """
        limit = NOTHING_STAYS if all else at_most_bytes
        with self._alone():
            names = self._names.read_locked()
            self._refuse_damaged(all)
            # First what there is, then what is used: a manifest comes before the rest, and so is known of all that is listed.
            sizes, parts, keys = self._stored(), list(self.blobs.parts()), sorted(self._layers.keys())
            leased = reach_of(self.blobs, self._leases.live())
            images = self._images(names)
            bounds = {"at_most_bytes": math.inf if limit is None else limit, "unused_since": unused_since}
            gone = images_to_go(images, leased, lambda reach: sizes_of(reach, *sizes), **bounds)
            lost = {name for image in gone for name in image.names}
            if lost:
                self._names.write((name, each) for name, each in names.items() if name not in lost)
            keep = union([image for image in images if image not in gone]) | leased | self._used_since(unused_since)
            blobs = tuple(digest for digest in sizes[0] if digest not in keep.blobs)
            freed = sum(sizes[0][digest] for digest in blobs) + self._discard_blobs(
                blobs, [each for each in parts if each not in keep.blobs]
            )
            layers = tuple(key for key in keys if self._layers.put_away(key, kept=keep.has_layer(key)))
        freed += self._layers.remove_put_away(leased.has_layer)
        return Pruned(names=tuple(sorted(lost)), blobs=blobs, layers=layers, bytes=freed)

    def _refuse_damaged(self, all_go: bool) -> None:
        if all_go:
            self._names.forget_damaged()
        for path in self._names.damaged():
            raise ImageError(
                f"nothing is removed while {path} may tell what is needed",
                hint="mend it and move it back to index.json, or remove it; `lxsandbox image prune --all` removes it as well",
            )

    def _images(self, names: Mapping[str, Descriptor]) -> list[StoredImage]:
        layers_used = self._layers.last_used()
        images: list[StoredImage] = []
        for digest, descriptor in {each.digest: each for each in names.values()}.items():
            reach = reach_of(self.blobs, [descriptor])
            used = last_use(self.blobs.changed_at(digest), reach.diff_ids, layers_used)
            own_names = tuple(name for name in names if names[name].digest == digest)
            images.append(StoredImage(digest=digest, names=own_names, reach=reach, last_used=used))
        return images

    def _used_since(self, moment: float) -> Reach:
        """What is by itself younger: a layer that was used, a blob that came, or of which a part did."""
        if moment == math.inf:
            return Reach()
        layers = (key for key, used in self._layers.last_used().items() if used >= moment)
        blobs = (digest for digest in {*self.blobs.digests(), *self.blobs.parts()} if self.blobs.changed_at(digest) >= moment)
        return Reach(blobs=frozenset(blobs), layers=frozenset(layers))

    def _stored(self) -> tuple[dict[str, int], dict[str, int]]:
        blobs: dict[str, int] = {}
        for digest in self.blobs.digests():
            with contextlib.suppress(ImageError):  # removed just now
                blobs[digest] = self.blobs.size(digest)
        return blobs, self._layers.sealed()

    def _discard_blobs(self, blobs: Iterable[str], parts: Iterable[str]) -> int:
        """Also what was fetched in part of others; the bytes that the latter freed."""
        for digest in blobs:
            self.blobs.discard(digest)
        return sum(self.blobs.discard_part(digest) for digest in parts) + self.blobs.discard_new_parts()
