"""Decompressing a file into a pipe, by what its first bytes say and not by its name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
from typing import BinaryIO, cast

import zstandard

from lxsandbox.errors import ImageError

__all__ = ["open_decompressed", "pump"]

# The first bytes of each format: RFC 1952, the xz file format 2.1.1.1, bzip2, RFC 8878.
_GZIP, _XZ, _BZIP2, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh", b"\x28\xb5\x2f\xfd"
_BLOCK_BYTES = 1 << 20


def open_decompressed(path: str) -> BinaryIO:
    """The contents of `path`, decompressed as it is read."""
    raw = open(path, "rb")  # noqa: SIM115 - what is returned closes it
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(_GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw, mode="rb"))
    if magic.startswith(_XZ):
        return cast(BinaryIO, lzma.LZMAFile(raw))
    if magic.startswith(_BZIP2):
        return cast(BinaryIO, bz2.BZ2File(raw))
    if magic.startswith(_ZSTD):
        return cast(BinaryIO, io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)))
    return raw


def pump(path: str, sink: int) -> None:
    """Write the decompressed contents of `path` to the descriptor `sink`, and close it.

    A reader that stops early is no error. Raises ImageError for a file that is damaged.
    """
    with open(sink, "wb", buffering=0) as out:
        try:
            with open_decompressed(path) as source:
                while block := source.read(_BLOCK_BYTES):
                    _write_all(out.fileno(), block)
        except BrokenPipeError:
            return
        except (EOFError, lzma.LZMAError, zstandard.ZstdError, OSError) as error:
            raise ImageError(f"{path} is damaged: {error}", hint="make or fetch it again") from error


def _write_all(fd: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(fd, view) :]
