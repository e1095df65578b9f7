"""Image references resolved to folders, through the cache where they must be unpacked first."""

from __future__ import annotations

import asyncio
import functools
import os
from typing import TYPE_CHECKING

from lxsandbox.errors import ImageError
from lxsandbox.images.compression import pump
from lxsandbox.images.store import root_of_tar
from lxsandbox.rootfs.plan import ImageRoot
from lxsandbox.service.factory import Factory

if TYPE_CHECKING:
    from lxsandbox.images.path_references import PathReference
    from lxsandbox.images.transports import Transports

__all__ = ["resolve"]


async def resolve(reference: str, factory: Factory) -> ImageRoot:
    """The root of the image that `reference` names. Raises ImageError."""
    if reference == "host":
        return ImageRoot(layers=None)
    place = _place(reference)
    if place.transport == "dir":
        return ImageRoot(layers=(place.path,))
    return ImageRoot(layers=(await _unpacked(place.path, factory),))


def _place(reference: str) -> PathReference:
    # Here: a run over the host's own files alone does not pay for it.
    from lxsandbox.images.path_references import PathReference

    parsed = _transports().parse(reference)
    if not isinstance(parsed, PathReference) or parsed.transport == "build":
        raise ImageError(
            f"image {reference!r} is one of transport {parsed.transport}, and sandboxes are made over a folder or tar file",
            hint="an image is one of host, dir:PATH, tar:FILE",
        )
    return parsed


@functools.cache
def _transports() -> Transports:
    from lxsandbox.images.transports import Transports

    return Transports()


async def _unpacked(path: str, factory: Factory) -> str:
    loop = asyncio.get_running_loop()

    def unpack(source: str, folder: str) -> None:
        asyncio.run_coroutine_threadsafe(_unpack(source, folder, factory), loop).result()

    def remove(folder: str) -> None:
        asyncio.run_coroutine_threadsafe(factory.remove_tree(folder), loop).result()

    try:
        return await asyncio.to_thread(root_of_tar, path, unpack, remove)
    except OSError as error:
        raise ImageError(f"image tar:{path} cannot be unpacked: {error}") from error


async def _unpack(path: str, folder: str, factory: Factory) -> None:
    stream, sink = os.pipe2(os.O_CLOEXEC)
    report, report_end = os.pipe2(os.O_CLOEXEC)
    pumping = asyncio.get_running_loop().run_in_executor(None, pump, path, sink)
    try:
        done = await factory.unpack(stream, report_end, folder)
    finally:
        os.close(stream)
        os.close(report_end)
        said = os.read(report, 4096).decode("utf-8", "replace")
        os.close(report)
    await pumping
    if not done:
        raise ImageError(f"image tar:{path} is refused: {said or 'it could not be unpacked'}")
