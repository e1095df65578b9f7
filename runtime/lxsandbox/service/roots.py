"""Image references resolved to folders, through the cache where they must be unpacked first."""

from __future__ import annotations

import asyncio
import os

from lxsandbox.errors import ImageError
from lxsandbox.images.compression import pump
from lxsandbox.images.references import parse_reference
from lxsandbox.images.store import root_of_tar
from lxsandbox.rootfs.plan import ImageRoot
from lxsandbox.service.factory import Factory

__all__ = ["resolve"]


async def resolve(reference: str, factory: Factory) -> ImageRoot:
    """The root of the image that `reference` names. Raises ImageError."""
    parsed = parse_reference(reference)
    match parsed.transport:
        case "host":
            return ImageRoot(layers=None)
        case "dir":
            return ImageRoot(layers=(parsed.path,))
        case _:
            return ImageRoot(layers=(await _unpacked(parsed.path, factory),))


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
