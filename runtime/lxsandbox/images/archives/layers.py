"""One layer from wherever it is into the store: as it is where image tools know its compression, else as zstd."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import zstandard

from lxsandbox.errors import ImageError
from lxsandbox.images.archives.sources import BLOCK_BYTES, copy_blob
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.compression import DAMAGE, compression_of, decompressed
from lxsandbox.images.digests import Hasher
from lxsandbox.images.documents import LAYER_TYPE, Descriptor

__all__ = ["Layer", "compressed", "decompressed_blocks", "hashed", "take_layer", "whole_tar"]

# image-spec, layer.md: what layers may be compressed with.
_SUFFIXES = {"": "", "gzip": "+gzip", "zstd": "+zstd"}
_MOST_BYTES = 64 << 30  # of a layer, decompressed
_TAR_BLOCK_BYTES = 512
_TAR_END = bytes(2 * _TAR_BLOCK_BYTES)  # POSIX.1-2017, pax, "ustar Interchange Format"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A layer in the store, and the digest of what it is uncompressed."""

    descriptor: Descriptor
    diff_id: str


def take_layer(open_raw: Callable[[], BinaryIO], blobs: Blobs, *, what: str, diff_id: str = "") -> Layer:
    """Store the layer that `open_raw` opens, several times if need be.

    With a `diff_id` it must be that one; without, it must be a tar that is all there. Raises ImageError, naming `what`.
    """
    with open_raw() as raw:
        compression = compression_of(raw)
        size = raw.seek(0, 2)
    if diff_id and not compression:
        # Uncompressed, it has the digest that the config says: the store looks whether it does, and whether it is there.
        copy_blob(blobs, diff_id, size, raw_blocks(open_raw), what)
        return _layer(diff_id, size, "", diff_id)
    if compression not in _SUFFIXES:
        return _recompress(open_raw, blobs, what, diff_id)
    found = _digest(_tar_blocks(open_raw, what, diff_id, hashlib.sha256()))
    digest = _digest(raw_blocks(open_raw)) if compression else found
    copy_blob(blobs, digest, size, raw_blocks(open_raw), what)
    return _layer(digest, size, compression, found)


def _recompress(open_raw: Callable[[], BinaryIO], blobs: Blobs, what: str, diff_id: str) -> Layer:
    hasher = hashlib.sha256()
    digest, size = blobs.add_stream(compressed(_tar_blocks(open_raw, what, diff_id, hasher)))
    return _layer(digest, size, "zstd", f"sha256:{hasher.hexdigest()}")


def _layer(digest: str, size: int, compression: str, diff_id: str) -> Layer:
    descriptor = Descriptor(media_type=LAYER_TYPE + _SUFFIXES[compression], digest=digest, size=size)
    return Layer(descriptor=descriptor, diff_id=diff_id)


def _checked(blocks: Iterable[bytes], hasher: Hasher, diff_id: str, what: str) -> Iterator[bytes]:
    """The same blocks. At their end raises ImageError where they were something else than `diff_id`."""
    yield from hashed(blocks, hasher)
    found = f"sha256:{hasher.hexdigest()}"
    if found != diff_id:
        raise ImageError(f"{what} is {found}, and its image's config says {diff_id}", hint="the image is damaged: make it again")


def _tar_blocks(open_raw: Callable[[], BinaryIO], what: str, diff_id: str, hasher: Hasher) -> Iterator[bytes]:
    blocks = decompressed_blocks(open_raw, what)
    return _checked(blocks, hasher, diff_id, what) if diff_id else hashed(whole_tar(blocks, what), hasher)


def raw_blocks(open_raw: Callable[[], BinaryIO]) -> Iterator[bytes]:
    """The content as it is."""
    with open_raw() as raw:
        while block := raw.read(BLOCK_BYTES):
            yield block


def decompressed_blocks(open_raw: Callable[[], BinaryIO], what: str) -> Iterator[bytes]:
    """The content decompressed. Raises ImageError, naming `what`, where it is damaged or has no end."""
    count = 0
    with open_raw() as raw:
        try:
            with decompressed(raw) as file:
                while block := file.read(BLOCK_BYTES):
                    count += len(block)
                    if count > _MOST_BYTES:
                        raise ImageError(f"{what} is of more than {_MOST_BYTES >> 30} GiB")
                    yield block
        except DAMAGE as error:
            raise ImageError(f"{what} is damaged: {error}", hint="make or fetch it again") from error


def hashed(blocks: Iterable[bytes], hasher: Hasher) -> Iterator[bytes]:
    """The same blocks, hashed as they go by."""
    for block in blocks:
        hasher.update(block)
        yield block


def compressed(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks compressed by zstd; always the same bytes by one version of it."""
    compressor = zstandard.ZstdCompressor().compressobj()
    for block in blocks:
        yield compressor.compress(block)
    yield compressor.flush()


def whole_tar(blocks: Iterable[bytes], what: str) -> Iterator[bytes]:
    """The same blocks. Raises ImageError where they do not begin and end as a tar does."""
    end = b""
    for block in blocks:
        if not end:
            _check_header(block[:_TAR_BLOCK_BYTES], what)
        end = block[-len(_TAR_END) :] if len(block) >= len(_TAR_END) else (end + block)[-len(_TAR_END) :]
        yield block
    if end != _TAR_END:
        raise ImageError(f"{what} was cut short: it has no end of a tar archive", hint="make or fetch it again")


def _check_header(header: bytes, what: str) -> None:
    if header == bytes(_TAR_BLOCK_BYTES):
        return  # an archive of nothing is one
    try:
        tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise ImageError(f"{what} is no tar archive: {error}", hint="name a tar of a root file system") from error


def _digest(blocks: Iterable[bytes]) -> str:
    hasher = hashlib.sha256()
    for block in blocks:
        hasher.update(block)
    return f"sha256:{hasher.hexdigest()}"
