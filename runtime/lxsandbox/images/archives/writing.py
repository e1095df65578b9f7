"""Files that are there whole or not at all, and tars whose bytes depend on nothing but names and contents."""

from __future__ import annotations

import contextlib
import os
import secrets
import tarfile
from collections.abc import Generator, Iterable
from typing import BinaryIO

from lxsandbox.errors import ImageError
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.digests import hasher_for

__all__ = ["TarWriter", "replacing", "verified_blocks", "writing_errors"]

_TAR_BLOCK_BYTES = 512


@contextlib.contextmanager
def replacing(path: str) -> Generator[BinaryIO]:
    """A file to write to that takes the place of `path` at the end. What fails leaves nothing behind. Raises OSError."""
    beside = os.path.join(os.path.dirname(path), f".{os.path.basename(path)[:200]}.{secrets.token_hex(4)}.part")
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise


@contextlib.contextmanager
def writing_errors(path: str) -> Generator[None]:
    """Turns what the system says into an ImageError that names the image's file or folder."""
    try:
        yield
    except OSError as error:
        raise ImageError(f"{path} cannot be written: {error.strerror or error}") from error


def verified_blocks(blobs: Blobs, digest: str) -> Generator[bytes]:
    """A blob's content; at its end raises ImageError where it was not what its digest says, and has removed it."""
    hasher = hasher_for(digest)
    for block in blobs.blocks(digest):
        hasher.update(block)
        yield block
    if hasher.hexdigest() != digest.partition(":")[2]:
        blobs.discard(digest)
        raise ImageError(f"{digest} was damaged on this disk and has been removed", hint="fetch the image again")


class TarWriter:
    """Writes entries of root's, from 1970, one after another, to a file that can seek."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add_folder(self, name: str) -> None:
        self._file.write(_header(name, tarfile.DIRTYPE, 0, 0o755))

    def add(self, name: str, data: bytes) -> None:
        self.add_stream(name, [data])

    def add_stream(self, name: str, blocks: Iterable[bytes]) -> None:
        """A file whose size nobody knows before its end: then its header is written once more."""
        start = self._file.tell()
        self._file.write(_header(name, tarfile.REGTYPE, 0, 0o644))
        size = sum(self._file.write(block) for block in blocks)
        self._file.write(bytes(-size % _TAR_BLOCK_BYTES))
        end = self._file.tell()
        self._file.seek(start)
        self._file.write(_header(name, tarfile.REGTYPE, size, 0o644))
        self._file.seek(end)

    def finish(self) -> None:
        """Write the end of the archive."""
        self._file.write(bytes(2 * _TAR_BLOCK_BYTES))


def _header(name: str, kind: bytes, size: int, mode: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.mode = kind, size, mode
    # GNU's form takes the same space whatever the size, also over 8 GiB.
    return member.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")
