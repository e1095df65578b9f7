"""Compressed files that are damaged: all that comes out is what went in, or an error says that it is not."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random as randoms
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import zstandard
from fuzz.mutation import chance, damaged

from lxsandbox.images.compression import pump

__all__ = ["Streams"]

_MOST_BYTES = 64 << 20  # what a case of some hundred KiB may come to
_PAGES = randoms.Random(0).randbytes(4096)


class Streams:
    """Files of each compression, through the function that feeds what unpacks."""

    name = "streams"

    def __init__(self, folder: Path) -> None:
        self._file = folder / "stream"
        self._out = folder / "out"

    def make(self, random: Random) -> bytes:
        """A file, perhaps damaged."""
        contents = (b"", b"x", bytes(70_000), _PAGES, _PAGES * 20, bytes(3 << 20), b"ab" * 5000)
        data = random.choice(_COMPRESS)(random.choice(contents))
        if chance(random, 0.3):
            data += random.choice(_COMPRESS)(random.choice(contents))
        if chance(random, 0.1):
            data += random.choice((bytes(4), bytes(1000), b"junk", _PAGES))
        if chance(random, 0.15):
            data = _with_dictionary(data, random.randrange(41))
        if chance(random, 0.7):
            data = damaged(random, data, most=3, places=[*range(min(40, len(data))), max(0, len(data) - 10)])
        return data[: random.randrange(len(data) + 1)] if chance(random, 0.2) else data

    def attempt(self, made: bytes) -> bool:
        self._file.write_bytes(made)
        sink = os.open(self._out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        digest = pump(str(self._file), sink)
        assert digest.startswith("sha256:")
        assert self._out.stat().st_size <= _MOST_BYTES
        return True


def _zstd_long(data: bytes) -> bytes:
    """With a window as large as the format has."""
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=27)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def _zstd_streamed(data: bytes) -> bytes:
    """Without its size in front."""
    compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    return compressor.compress(data) + compressor.flush()


def _with_dictionary(data: bytes, size: int) -> bytes:
    """The same xz file with another size of its dictionary: up to 4 GiB, which a reader is to keep (xz format, 5.3.1)."""
    at = data.find(b"\x21\x01", 12, 30)
    if not data.startswith(b"\xfd7zXZ") or at < 0:
        return data
    end = 12 + 4 * (data[12] + 1) - 4
    header = data[12 : at + 2] + bytes([size]) + data[at + 3 : end]
    return data[:12] + header + zlib.crc32(header).to_bytes(4, "little") + data[end + 4 :]


_COMPRESS: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: gzip.compress(data, 1, mtime=0),
    lambda data: lzma.compress(data, preset=0),
    lambda data: bz2.compress(data, 1),
    lambda data: zstandard.ZstdCompressor(level=1).compress(data),
    _zstd_streamed,
    _zstd_long,
    lambda data: data,
)
