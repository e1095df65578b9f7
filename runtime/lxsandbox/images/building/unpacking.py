"""ADD of a local tar archive: its entries, one after another, through the workshop, which no link in it leads out of."""

from __future__ import annotations

import gzip
import os
import posixpath
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from lxsandbox.images.building.copying import make_parents
from lxsandbox.images.building.syntax import Where
from lxsandbox.images.building.workshop import Workshop
from lxsandbox.images.compression import DAMAGE, compression_of, decompressed

__all__ = ["unpack"]

_MOST_ENTRIES = 1_000_000
_MOST_BYTES = 64 << 30
_BLOCK_BYTES = 1 << 20
_NANOSECONDS = 1_000_000_000
_TAR_BLOCK_BYTES = 512


def unpack(fd: int, name: str, target: str, shop: Workshop, owner: tuple[int, int] | None, where: Where) -> bool:
    """Unpack the archive open as `fd`, plain or compressed, into `target`; False where it is none, and then nothing is done.

    Raises ImageError for one that is damaged, or holds what cannot be made. Closes `fd`.
    """
    try:
        if not _begins_like_tar(_beginning(fd)):
            return False
        try:
            with decompressed(_from_its_start(fd)) as stream:
                _unpack_entries(stream, target, shop, owner, where)
        except (tarfile.TarError, ValueError, *DAMAGE) as error:
            where.refuse(f"archive {name} cannot be unpacked: {error}")
    finally:
        os.close(fd)
    return True


def _beginning(fd: int) -> bytes:
    """The first bytes, decompressed, also of what is damaged later; nothing for what only begins like something compressed."""
    try:
        with _from_its_start(fd) as raw:
            if compression_of(raw) == "gzip":
                # Not by the decoder that is fast: it reads far ahead, and where that fails it gives nothing.
                return gzip.GzipFile(fileobj=raw).read(_TAR_BLOCK_BYTES)
        with decompressed(_from_its_start(fd)) as stream:
            return stream.read(_TAR_BLOCK_BYTES)
    except DAMAGE:
        return b""


def _from_its_start(fd: int) -> BinaryIO:
    os.lseek(fd, 0, os.SEEK_SET)
    return open(os.dup(fd), "rb")


def _begins_like_tar(header: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _unpack_entries(stream: BinaryIO, target: str, shop: Workshop, owner: tuple[int, int] | None, where: Where) -> None:
    folders: list[tuple[str, tarfile.TarInfo]] = []
    size = 0
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for count, member in enumerate(archive):
            size += member.size
            if count >= _MOST_ENTRIES or size > _MOST_BYTES:
                where.refuse(f"the archive holds more than {_MOST_ENTRIES} entries, or {_MOST_BYTES >> 30} GiB")
            path = _below(target, member.name)
            if member.isdir():
                make_parents(shop, path + "/", owner)
                if path != target:
                    folders.append((path, member))
                continue
            make_parents(shop, path, owner)
            _make(archive, member, path, target, shop, where)
            if not member.islnk():
                _own(shop, path, member, owner)
    for path, member in reversed(folders):  # filling them changes their times
        _own(shop, path, member, owner)


def _make(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str, target: str, shop: Workshop, where: Where) -> None:
    if shop.look(path) is not None:
        shop.remove(path)
    if member.issym():
        shop.make_link(path, member.linkname)
    elif member.islnk():
        shop.make_name(path, _below(target, member.linkname))
    elif member.isreg():
        with open(shop.make_file(path, 0o600), "wb") as out:
            out.writelines(_content(archive, member))
    else:
        where.refuse(f"the archive holds {member.name!r:.200}, a device or fifo", hint="leave it out, and make it by RUN")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    file = archive.extractfile(member)
    while file is not None and (block := file.read(_BLOCK_BYTES)):
        yield block


def _own(shop: Workshop, path: str, member: tarfile.TarInfo, owner: tuple[int, int] | None) -> None:
    to = owner or (member.uid, member.gid)
    if member.issym():
        shop.settle(path, to)
    else:
        shop.settle(path, to, member.mode & 0o7777, round(member.mtime * _NANOSECONDS))


def _below(target: str, name: str) -> str:
    """Where an entry goes: never above the target, whatever it is named."""
    inner = posixpath.normpath("/" + name)
    return target if inner == "/" else posixpath.join(target, inner.lstrip("/"))
