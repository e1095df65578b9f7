"""Decompressing a file into a pipe, by what its first bytes say and not by its name."""

from __future__ import annotations

import bz2
import contextlib
import fcntl
import hashlib
import io
import lzma
import os
from collections.abc import Callable
from typing import BinaryIO, cast

import zstandard
from isal import igzip_lib, igzip_threaded

from lxsandbox.errors import ImageError

__all__ = ["open_decompressed", "pump"]

# The first bytes of each format: RFC 1952, the xz file format 2.1.1.1, bzip2, RFC 8878.
_GZIP, _XZ, _BZIP2, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh", b"\x28\xb5\x2f\xfd"
_BLOCK_BYTES = 1 << 20
# What isal says of its own types is less than is so.
_open_gzip = cast(Callable[..., BinaryIO], igzip_threaded.open)  # pyright: ignore[reportUnknownMemberType]
_GzipError = cast(type[Exception], igzip_lib.IsalError)


def open_decompressed(path: str) -> BinaryIO:
    """The contents of `path`, decompressed as it is read."""
    with open(path, "rb") as file:
        magic = file.read(6)
    if magic.startswith(_GZIP):
        return _open_gzip(path, "rb", block_size=_BLOCK_BYTES)
    if magic.startswith(_XZ):
        return cast(BinaryIO, lzma.LZMAFile(path))
    if magic.startswith(_BZIP2):
        return cast(BinaryIO, bz2.BZ2File(path))
    raw = open(path, "rb")  # noqa: SIM115 - what is returned closes it
    if magic.startswith(_ZSTD):
        # It takes a file that was cut short for one that ends: the archive in it, or its digest, says that it does not.
        return cast(BinaryIO, io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)))
    return raw


def pump(source: str, sink: int) -> str:
    """Write the decompressed contents of the file `source` to the descriptor `sink`, and close it; the answer is their digest.

    A reader that stops early is no error; the digest is then empty. Raises ImageError for a file that is damaged.
    """
    hasher = hashlib.sha256()
    with open(sink, "wb", buffering=0) as out:
        with contextlib.suppress(OSError):  # fewer wake-ups; a user's pipes have a limit in sum, see pipe(7)
            fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, _BLOCK_BYTES)
        try:
            with open_decompressed(source) as blocks:
                while block := blocks.read(_BLOCK_BYTES):
                    hasher.update(block)
                    _write_all(out.fileno(), block)
        except BrokenPipeError:
            return ""
        except (EOFError, lzma.LZMAError, _GzipError, zstandard.ZstdError, OSError) as error:
            raise ImageError(f"{source} is damaged: {error}", hint="make or fetch it again") from error
    return f"sha256:{hasher.hexdigest()}"


def _write_all(fd: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(fd, view) :]
