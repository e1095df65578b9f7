"""Decompressing a file, by what its first bytes say and not by its name."""

from __future__ import annotations

import bz2
import contextlib
import fcntl
import hashlib
import io
import lzma
import os
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

import zstandard
from isal import igzip_lib, igzip_threaded

from lxsandbox.errors import ImageError

__all__ = ["DAMAGE", "compression_of", "decompressed", "open_decompressed", "pump"]

# What isal says of its own types is less than is so.
_open_gzip = cast(Callable[..., BinaryIO], igzip_threaded.open)  # pyright: ignore[reportUnknownMemberType]
_GzipError = cast(type[Exception], igzip_lib.IsalError)

# What reading a damaged file raises, by its format.
DAMAGE = (EOFError, OSError, zlib.error, _GzipError, lzma.LZMAError, zstandard.ZstdError)

# The first bytes of each format: RFC 1952, the xz file format 2.1.1.1, bzip2, RFC 8878.
_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
_LONGEST_MAGIC = max(map(len, _MAGIC))
_BLOCK_BYTES = 1 << 20
_MOST_XZ_MEMORY_BYTES = 256 << 20  # a file may ask for 4 GiB; `xz -9` for 65 MiB


def open_decompressed(path: str) -> BinaryIO:
    """The contents of `path`, decompressed as it is read."""
    return decompressed(open(path, "rb"))


def decompressed(raw: BinaryIO) -> BinaryIO:
    """What `raw`, at its beginning, holds, decompressed as it is read. Closing it closes `raw`."""
    match compression_of(raw):
        case "gzip":
            return _reader(cast(_Decoder, _open_gzip(raw, "rb", block_size=_BLOCK_BYTES)), raw)
        case "xz":
            return _reader(_XzDecoder(raw), raw)
        case "bzip2":
            return _reader(bz2.BZ2File(raw), raw)
        case "zstd":
            # It takes a file that was cut short for one that ends: the archive in it, or its digest, says that it does not.
            return _reader(zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True), raw)
        case _:
            return raw


def compression_of(raw: BinaryIO) -> str:
    """How what `raw`, at its beginning, holds is compressed: `gzip`, `xz`, `bzip2`, `zstd`, or empty for not at all."""
    start = raw.read(_LONGEST_MAGIC)
    raw.seek(0)
    return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "")


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
        except DAMAGE as error:
            raise ImageError(f"{source} is damaged: {error}", hint="make or fetch it again") from error
    return f"sha256:{hasher.hexdigest()}"


class _Decoder(Protocol):
    def readinto(self, buffer: bytearray, /) -> int: ...
    def close(self) -> None: ...


class _XzDecoder:
    """The xz streams in a file, one behind another, read within bounded memory, which LZMAFile cannot be asked for."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._begin()

    def _begin(self) -> None:
        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_XZ_MEMORY_BYTES)

    def readinto(self, buffer: bytearray, /) -> int:
        while True:
            data = b""
            if self._stream.eof:
                data = self._after_stream()
                if not data:
                    return 0
                self._begin()
            elif self._stream.needs_input:
                data = self._raw.read(_BLOCK_BYTES)
                if not data:
                    raise EOFError("it ends within a stream")
            decoded = self._stream.decompress(data, len(buffer))
            if decoded:
                buffer[: len(decoded)] = decoded
                return len(decoded)

    def _after_stream(self) -> bytes:
        """What stands behind it, but for zeros: the xz file format 2.2, "Stream Padding". Empty at the end."""
        data = self._stream.unused_data.lstrip(b"\0")
        while not data and (block := self._raw.read(_BLOCK_BYTES)):
            data = block.lstrip(b"\0")
        return data

    def close(self) -> None:
        """There is nothing to let go of."""


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
