"""Decompressing a file, by what its first bytes say and not by its name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zlib
from typing import Any, BinaryIO, Protocol, cast

import zstandard

from lxsandbox.errors import ImageError

__all__ = ["DAMAGE", "compression_of", "decompressed", "open_decompressed", "pump"]

# What reading a damaged file raises, by its format.
DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError)

# The first bytes of each format: RFC 1952, the xz file format 2.1.1.1, bzip2, RFC 8878.
_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
_LONGEST_MAGIC = max(map(len, _MAGIC))
_BLOCK_BYTES = 1 << 20


def open_decompressed(path: str) -> BinaryIO:
    """The contents of `path`, decompressed as it is read."""
    return decompressed(open(path, "rb"))


def decompressed(raw: BinaryIO) -> BinaryIO:
    """What `raw`, at its beginning, holds, decompressed as it is read. Closing it closes `raw`."""
    match compression_of(raw):
        case "gzip":
            return _reader(gzip.GzipFile(fileobj=raw, mode="rb"), raw)
        case "xz":
            return _reader(lzma.LZMAFile(raw), raw)
        case "bzip2":
            return _reader(bz2.BZ2File(raw), raw)
        case "zstd":
            return _reader(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True), raw)
        case _:
            return raw


def compression_of(raw: BinaryIO) -> str:
    """How what `raw`, at its beginning, holds is compressed: `gzip`, `xz`, `bzip2`, `zstd`, or empty for not at all."""
    start = raw.read(_LONGEST_MAGIC)
    raw.seek(0)
    return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "")


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
        except DAMAGE as error:
            raise ImageError(f"{path} is damaged: {error}", hint="make or fetch it again") from error


class _Decoder(Protocol):
    def readinto(self, buffer: bytearray, /) -> int: ...
    def close(self) -> None: ...


class _Reader(io.RawIOBase):
    """Closes what it decodes, which most decoders do not."""

    def __init__(self, decoder: _Decoder, raw: BinaryIO) -> None:
        self._decoder = decoder
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._decoder.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._decoder.close()
            self._raw.close()
        super().close()


def _reader(decoder: _Decoder, raw: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Reader(decoder, raw), _BLOCK_BYTES))


def _write_all(fd: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(fd, view) :]
