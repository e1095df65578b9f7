"""The images that a run uses: each found, fetched and unpacked once, and held in the store until the run ends.

What does the work is loaded when an image is asked for: a run over the host's own files alone does not pay for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lxsandbox.errors import ImageError, SandboxError
from lxsandbox.rootfs.plan import ImageRoot

if TYPE_CHECKING:
    from lxsandbox.images.config import ImageConfig
    from lxsandbox.images.documents import Descriptor
    from lxsandbox.images.library import HeldImage, Library
    from lxsandbox.images.lock import Lock
    from lxsandbox.images.references import Reference
    from lxsandbox.images.registry.progress import Progress
    from lxsandbox.images.store import Lease, Pruned, Store
    from lxsandbox.images.transports import Pull
    from lxsandbox.service.egress import Egress
    from lxsandbox.service.factory import Factory

__all__ = ["HOST", "Image", "Images"]

T = TypeVar("T")
_log = logging.getLogger(__name__)
_YOUNG_SECONDS = 3600.0  # what was used so lately is wanted again
_PRUNE_SECONDS = 10.0
_AT_ONCE = 2  # layers unpacked at the same time; each has a process of its own beside the thread that decompresses


@dataclass(frozen=True, slots=True)
class Image:
    """What a sandbox is made over: the root's layers, and the image in the store, where it is not just a root."""

    root: ImageRoot
    held: HeldImage | None = None

    @property
    def config(self) -> ImageConfig | None:
        return None if self.held is None else self.held.config


HOST = Image(ImageRoot(layers=None))


class Images:
    """By the text that users wrote. Blocking work is done in threads, and one image by one of them at a time."""

    def __init__(self, factory: Factory, egress: Egress) -> None:
        self._factory = factory
        self._egress = egress
        self._found: dict[tuple[str, str, bool], asyncio.Task[Image]] = {}
        self._made: dict[str, Image] = {}  # by this run itself, by what names each
        self._held: list[HeldImage] = []
        self._leases: list[Lease] = []
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._library: Library | None = None
        self._locks: dict[str, Lock] = {}
        self._opening = asyncio.Lock()
        self._counting = threading.Lock()
        self._grown = False  # there is more in the store than before
        self.working = 0  # threads that wait for a source, or remove what is not needed, perhaps for long

    async def find(self, text: str, *, pull: Pull = "missing", offline: bool = False, lock: str = "") -> Image:
        """The image, ready to be the root of a sandbox; with `lock`, a file's path, by the digest there. Raises ImageError."""
        if text == "host":
            return HOST
        library = await self.open()
        parsed = await asyncio.to_thread(library.parse, text)
        if (made := self._made.get(str(parsed))) is not None:
            return made
        if lock:
            parsed = await asyncio.to_thread(self._pinned, library, parsed, lock)
        if parsed.transport in ("dir", "tar"):
            return await self._bare(parsed)
        key = (await asyncio.to_thread(_identity, parsed), pull, offline)
        task = self._found.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            work = self._stored(library, parsed, pull, offline)
            task = self._found[key] = asyncio.get_running_loop().create_task(work)
        return await asyncio.shield(task)

    async def prune(self, *, every: bool, at_most_bytes: int | None) -> Pruned:
        """Remove from the store what may go: see `Store.prune`, whose `all` is `every`. Raises ImageError."""
        library = await self.open()
        return await asyncio.to_thread(library.store.prune, all=every, at_most_bytes=at_most_bytes)

    async def open(self) -> Library:
        """The library that the images come from."""
        async with self._opening:
            if self._library is None:
                remove, loop = self.in_loop(self._factory.remove_tree), asyncio.get_running_loop()
                self._library = await asyncio.to_thread(_library, self._factory, self._egress, self, loop, remove)
            return self._library

    async def _bare(self, reference: Reference) -> Image:
        path: str = getattr(reference, "path")  # noqa: B009 - of a PathReference, whose module is not loaded for `host`
        if reference.transport == "tar":
            from lxsandbox.images.store import root_of_tar

            async def unpack(source: str, folder: str) -> None:
                await self._unpack(str(reference), source, folder, form="root")

            remove = self.in_loop(self._factory.remove_tree)
            try:
                path = await asyncio.to_thread(root_of_tar, path, self.in_loop(unpack), remove)
            except OSError as error:
                raise ImageError(f"image {reference} cannot be unpacked: {error}") from error
        return Image(ImageRoot(layers=(path,)))

    async def _stored(self, library: Library, reference: Reference, pull: Pull, offline: bool) -> Image:
        held = await _apart(lambda: self._fetch(library, reference, pull, offline))
        self._held.append(held)
        return await self._unpacked(library.store, reference.familiar(), held)

    async def _unpacked(self, store: Store, name: str, held: HeldImage) -> Image:
        layers = zip(held.manifest.layers, held.config.diff_ids, strict=True)
        folders = await asyncio.gather(*(self._layer(store, name, layer.digest, diff_id) for layer, diff_id in layers))
        seen = await self._with_inherited(store, name, held.config.diff_ids, _seen(folders[::-1]))
        return _image(held, seen or (() if held.config.over_host else (self.nothing,)), store)

    async def _with_inherited(
        self, store: Store, image: str, diff_ids: Sequence[str], layers: tuple[str, ...]
    ) -> tuple[str, ...]:
        """The image's layers, uppermost first, with one more where folders are implied that lower layers say more about."""
        from lxsandbox.images.digests import digest_of
        from lxsandbox.images.store import layer_key
        from lxsandbox.images.unpack import has_implied

        if not any(map(has_implied, layers[:-1])):
            return layers

        async def fill(folder: str) -> None:
            self._grown = True
            said = await self._factory.inherit(layers, folder)
            if said is not None:
                raise ImageError(f"image {image} cannot be unpacked: {said or 'what makes its folders was killed'}")

        # No archive has this digest: it stands for what follows from these layers, one over the other.
        made_id = digest_of("\n".join(["implied folders", *diff_ids]).encode())
        try:
            # No name reaches it: it is held by itself while it is used, and made again when it was pruned.
            self._leases.append(await asyncio.to_thread(store.lease, layer_key(made_id, ids=self.ids)))
            folder = await asyncio.to_thread(store.layer, made_id, self.in_loop(fill), ids=self.ids)
            return (folder, *layers) if os.listdir(folder) else layers
        except OSError as error:
            raise ImageError(f"image {image} cannot be unpacked: {error}") from error

    @property
    def nothing(self) -> str:
        """A folder with nothing in it, for a root of no layers: overlayfs takes no fewer than one."""
        path = os.path.join(self._factory.folder, "nothing")
        os.makedirs(path, 0o755, exist_ok=True)
        return path

    async def stored(self, descriptor: Descriptor) -> Image:
        """An image in the store, by its manifest's descriptor; what it holds there, the caller closes. Raises ImageError."""
        library = await self.open()
        held = await asyncio.to_thread(library.of, descriptor)
        return await self._unpacked(library.store, descriptor.digest, held)

    async def build(self, text: str, name: str, progress: Progress, *, fresh: bool, pull: Pull) -> str:
        """Build an image, and call it `name` if it is to have one; the digest of its manifest. Raises SandboxError."""
        library = await self.open()
        self._grown = True

        def work() -> str:
            reference = library.parse(text)
            with self._working(), library.get(reference, pull=pull, progress=progress, fresh=fresh) as built:
                if name:
                    library.store.tag(name, built.descriptor)
                return built.descriptor.digest

        return await _apart(work)

    def remember(self, library: Library, held: HeldImage, layers: Sequence[str], names: Iterable[str]) -> None:
        """This run has made an image, of these folders (uppermost first): from now on the references `names` mean it here."""
        self._grown = True
        self._held.append(held)
        self._made.update(dict.fromkeys(names, _image(held, _seen(layers), library.store)))

    def _pinned(self, library: Library, reference: Reference, path: str) -> Reference:
        from lxsandbox.images.lock import Lock

        if path not in self._locks:  # read once: a run has one image by one name, also when the file is written meanwhile
            self._locks[path] = Lock.read(path)
        return self._locks[path].pinned(reference, library.platform)

    def _fetch(self, library: Library, reference: Reference, pull: Pull, offline: bool) -> HeldImage:
        with self._working():
            return library.get(reference, pull=pull, offline=offline)

    @contextlib.contextmanager
    def _working(self) -> Generator[None]:
        with self._counting:
            self.working += 1
        try:
            yield
        finally:
            with self._counting:
                self.working -= 1

    async def _layer(self, store: Store, image: str, digest: str, diff_id: str) -> str:
        """The folder with the files of one layer, unpacked in this run or another."""

        async def unpack(folder: str) -> None:
            self._grown = True
            found = await self._unpack(image, store.blobs.path(digest), folder, form="layer")
            if found != diff_id:
                store.blobs.discard(digest)
                message = f"layer {digest} of image {image} is not what its configuration says ({diff_id})"
                raise ImageError(message, hint="if that stays so, whoever made the image must make it anew")

        async with self._turns:
            try:
                return await asyncio.to_thread(store.layer, diff_id, self.in_loop(unpack), ids=self.ids)
            except OSError as error:
                raise ImageError(f"layer {digest} of image {image} cannot be unpacked: {error}") from error

    @property
    def ids(self) -> str:
        """What tells apart trees whose files have other owners on this host."""
        shifted = self._factory.mapping.spawner_uids
        return "-".join(["ids", *(str(outside) for _, outside, _ in shifted)]) if shifted else "host"

    async def _unpack(self, image: str, source: str, folder: str, *, form: str) -> str:
        """Unpack the archive `source`; the digest of what it holds, uncompressed. Raises ImageError."""
        from lxsandbox.images.compression import pump

        stream, sink = os.pipe2(os.O_CLOEXEC)
        pumping = asyncio.get_running_loop().run_in_executor(None, pump, source, sink)
        try:
            said = await self._factory.unpack(stream, folder, form=form)
        finally:
            os.close(stream)
        digest = await pumping
        if said is not None:
            raise ImageError(f"image {image} is refused: {said or 'it could not be unpacked'}")
        return digest

    def in_loop(self, work: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., T]:
        """A function that threads call, and that has the event loop do it."""
        loop = asyncio.get_running_loop()
        return lambda *arguments: asyncio.run_coroutine_threadsafe(work(*arguments), loop).result()

    async def close(self) -> None:
        """Stop what is still being fetched, let go of all images, and make room where there is too much of them now."""
        for task in self._found.values():
            task.cancel()
        await asyncio.gather(*self._found.values(), return_exceptions=True)
        for held in self._held:
            held.close()
        for lease in self._leases:
            lease.close()
        if self._grown and self._library is not None:
            await self._make_room(self._library.store)

    async def _make_room(self, store: Store) -> None:
        # What is not done by then is done by another run: a prune may be killed at any point.
        pruning = asyncio.to_thread(self._keep_to_size, store)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pruning, _PRUNE_SECONDS)

    def _keep_to_size(self, store: Store) -> None:
        from lxsandbox.images.store import cache_size

        with self._working():
            try:
                at_most_bytes = cache_size()
                if at_most_bytes is not None:
                    store.keep_to(at_most_bytes, spare_seconds=_YOUNG_SECONDS)
            except (SandboxError, OSError) as error:  # no run fails for want of room for the next
                _log.warning("the store of images could not be made smaller: %s", error)


async def _apart(work: Callable[[], T]) -> T:
    """Have a thread of its own do the work. Those of asyncio are few, and what builds an image waits for others of them."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(set_it: Callable[[Any], None], outcome: object) -> None:
        if not done.done():
            set_it(outcome)

    def run() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - passed on to who waits
                loop.call_soon_threadsafe(tell, done.set_exception, error)
            else:
                loop.call_soon_threadsafe(tell, done.set_result, result)

    threading.Thread(target=run, name="image", daemon=True).start()
    return await done


def _library(
    factory: Factory, egress: Egress, images: Images, loop: asyncio.AbstractEventLoop, remove: Callable[[str], None]
) -> Library:
    # In a thread: together they take a tenth of a second to load.
    from lxsandbox.images.library import Library
    from lxsandbox.images.store import Store
    from lxsandbox.service.workshops import Workshops

    store = Store(remove=remove)
    return Library(store, workshops=Workshops(factory, egress, images, store, loop))


def _image(held: HeldImage, layers: tuple[str, ...], store: Store) -> Image:
    config = held.config
    wanted = (*config.volumes, config.working_dir) if config.working_dir else config.volumes
    return Image(ImageRoot(layers=layers, folders=wanted, over_host=config.over_host, store=store.folder), held)


def _seen(folders: Sequence[str]) -> tuple[str, ...]:
    """Of layers, uppermost first, those that show: overlayfs takes no mark on the root of a layer for one."""
    seen: list[str] = []
    for folder in folders:
        seen.append(folder)
        with contextlib.suppress(OSError):  # mostly ENODATA
            if os.getxattr(folder, "user.overlay.opaque") == b"y":
                break
    return tuple(seen)


def _identity(reference: Reference) -> str:
    """The reference, and for one to a file which file that is now: it may be another one when it is asked for again."""
    path = getattr(reference, "path", None)
    if path is None:
        return str(reference)
    layout = os.path.join(path, "index.json")
    telling = [layout if os.path.exists(layout) else path]
    if reference.transport == "build":
        # Not all that is copied: a test run does not change it, and there may be much.
        names = ("Containerfile", "Dockerfile", ".dockerignore", getattr(reference, "file", ""))
        telling += [os.path.join(path, name) for name in names]
    stats = [os.stat(each) for each in telling if os.path.exists(each)]
    return "\0".join([str(reference), *(f"{found.st_size} {found.st_mtime_ns} {found.st_ino}" for found in stats)])
