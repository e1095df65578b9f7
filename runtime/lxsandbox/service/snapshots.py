"""Making images of sandboxes: what has changed in one, recorded as a layer and unpacked as one, all in one pass."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import fcntl
import os
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import FileIO
from typing import TYPE_CHECKING, Any

from lxsandbox.errors import ImageError
from lxsandbox.image import Image
from lxsandbox.service.box import Box
from lxsandbox.service.factory import Factory
from lxsandbox.service.images import Images

if TYPE_CHECKING:
    from lxsandbox.images.blobs import Blobs
    from lxsandbox.images.documents import Descriptor
    from lxsandbox.images.library import HeldImage, Library
    from lxsandbox.images.references import Reference

__all__ = ["NothingChanged", "Recording", "Snapshots"]

_AT_ONCE = 2
_BLOCK_BYTES = 1 << 20
_EMPTY_BYTES = 1024  # of an archive with nothing in it


class NothingChanged(Exception):
    """There is no layer to be made."""


class Snapshots:
    """Takes them. What blocks is done in threads of its own: it waits for what the event loop does, also in other threads."""

    def __init__(self, factory: Factory, images: Images) -> None:
        self._factory = factory
        self._images = images
        self._threads = ThreadPoolExecutor(_AT_ONCE, "snapshot")

    async def take(self, box: Box, name: str | None) -> Image:
        """The image of what the box has in its root now, called `name` if it has one. Raises SandboxError."""
        library = await self._images.open()
        reference = None if name is None else await asyncio.to_thread(library.new_name, name)
        _check_base(box)
        loop = asyncio.get_running_loop()
        try:
            held, layers = await loop.run_in_executor(self._threads, self._record, loop, library, box, reference)
        except OSError as error:
            hint = f"make room in {library.store.folder}: `lxsandbox image prune`"
            raise ImageError(f"sandbox {box.name} cannot be made into an image: {error}", hint=hint) from error
        digest = held.descriptor.digest
        self._images.remember(library, held, layers, (digest, *([str(reference)] if reference else [])))
        return held.config.described(reference.familiar() if reference else digest, digest)

    def _record(
        self, loop: asyncio.AbstractEventLoop, library: Library, box: Box, reference: Reference | None
    ) -> tuple[HeldImage, tuple[str, ...]]:
        """In a thread: the new image in the store, and its folders. Raises SandboxError, OSError."""
        from lxsandbox.images.library import HeldBlobs, HeldImage
        from lxsandbox.images.snapshots import check_room, host_base, store_documents, with_layer

        assert box.made is not None  # it was started
        base, layers = box.made.image.held, box.made.image.root.layers or ()
        manifest, config = host_base(library.platform) if base is None else (base.manifest, base.config)
        check_room(manifest)
        store = library.store
        with ExitStack() as undo:
            lease = undo.enter_context(store.lease())
            blobs = HeldBlobs(store.folder, lease)
            recording = Recording(loop, self._factory, box, blobs)
            try:
                layers = (store.new_layer(recording.fill, ids=self._images.ids), *layers)
                manifest, config = with_layer(manifest, config, recording.layer())
                manifest, descriptor = store_documents(manifest, config, blobs)
            except NothingChanged:
                descriptor = base.descriptor if base is not None else store_documents(manifest, config, blobs)[1]
            lease.add([descriptor])
            if reference is not None:
                store.tag(str(reference), descriptor)
            undo.pop_all()
            return HeldImage(descriptor=descriptor, manifest=manifest, config=config, lease=lease), layers

    async def close(self) -> None:
        """Wait for what is being recorded: it ends early once the sandboxes have ended."""
        await asyncio.to_thread(self._threads.shutdown)


def _check_base(box: Box) -> None:
    """Raises ImageError for a box over an image that is in no store."""
    assert box.made is not None  # it was started
    image = box.made.image
    if image.held is None and not image.root.is_host:
        raise ImageError(
            f"sandbox {box.name} cannot be made into an image: its own, {box.spec.image}, is in no store",
            hint=f"import it first: `lxsandbox image import {box.spec.image} NAME`",
        )


class Recording:
    """One pass over what has changed in a box: it becomes a blob, and the files of a layer's folder."""

    def __init__(self, loop: asyncio.AbstractEventLoop, factory: Factory, box: Box, blobs: Blobs) -> None:
        self._loop = loop
        self._factory = factory
        self._box = box
        self._blobs = blobs
        self._recorded: tuple[str, int] | None = None

    def layer(self) -> Descriptor:
        """The blob, once it is there."""
        from lxsandbox.images.documents import LAYER_TYPE, Descriptor

        assert self._recorded is not None
        digest, size = self._recorded
        return Descriptor(media_type=LAYER_TYPE, digest=digest, size=size)

    def fill(self, folder: str) -> str:
        """Unpack the changes into `folder`; their digest. Raises NothingChanged, SandboxError, OSError; then no blob is left."""
        packed, sink = _pipe()
        stream, copy = _pipe()
        packing = self._start(self._pack(sink))
        unpacking = self._start(self._unpack(stream, folder))
        try:
            with open(copy, "wb", buffering=0) as out, open(packed, "rb", buffering=0) as source:
                self._recorded = self._blobs.add_stream(_blocks(source, out, packing, unpacking))
        except BrokenPipeError:
            unpacking.result()  # it has stopped early, and says why
            raise
        finally:
            concurrent.futures.wait((packing, unpacking))
        return self._recorded[0]

    def _start(self, work: Coroutine[Any, Any, None]) -> concurrent.futures.Future[None]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _pack(self, sink: int) -> None:
        try:
            await self._factory.pack(self._box, sink)
        finally:
            os.close(sink)

    async def _unpack(self, stream: int, folder: str) -> None:
        try:
            said = await self._factory.unpack(stream, folder, form="layer")
        finally:
            os.close(stream)
        if said is not None:
            raise ImageError(f"the snapshot of sandbox {self._box.name} cannot be unpacked: {said or 'it was killed'}")


def _blocks(
    source: FileIO, copy: FileIO, packing: concurrent.futures.Future[None], unpacking: concurrent.futures.Future[None]
) -> Iterator[memoryview]:
    """What `source` yields, written to `copy` too; each good until the next. At its end raises what went wrong on either side."""
    size = 0
    buffer = memoryview(bytearray(_BLOCK_BYTES))  # one for all: fresh memory for each has to be cleared by the kernel
    while count := source.readinto(buffer):
        size += count
        left = buffer[:count]
        while left:
            left = left[copy.write(left) :]
        yield buffer[:count]
    packing.result()
    if size == _EMPTY_BYTES:
        raise NothingChanged
    copy.close()
    unpacking.result()


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # fewer wake-ups; a user's pipes have a limit in sum, see pipe(7)
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _BLOCK_BYTES)
    return reader, writer
