"""A folder as the tar of a layer: always the same bytes for the same folder, whoever reads it and whenever.

Source: image-spec v1.1, layer.md: pax archives, extended attributes as SCHILY.xattr, hard links as such, no sockets.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator

from lxsandbox.errors import ImageError

__all__ = ["END", "pack_folder"]

END = bytes(1024)
_BLOCK_BYTES = 1 << 20
_TAR_BLOCK_BYTES = 512
_NANO = 1_000_000_000
_WHITEOUT = b".wh."
# What the host keeps for itself; of images, unpacking would refuse them.
_HOST_XATTRS = ("trusted.", "user.overlay.", "security.selinux")
_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


def pack_folder(folder: str) -> Iterator[bytes]:
    """What is in `folder` as a tar, block by block; the folder itself has no entry. Raises ImageError, naming the file."""
    top = os.path.realpath(folder)
    first: dict[tuple[int, int], str] = {}  # of files with several names, the one that has the content
    try:
        for root, folders, files, fd in os.fwalk(top, onerror=_raise):
            folders.sort(key=os.fsencode)
            for name in sorted(folders + files, key=os.fsencode):
                inner = os.path.relpath(os.path.join(root, name), top)
                yield from _pack(fd, name, inner, first)
    except (OSError, RecursionError) as error:
        raise ImageError(f"{folder} cannot be packed: {error}", hint="a user can pack what it may read") from error
    yield END


def _raise(error: OSError) -> None:
    raise error


def _pack(fd: int, name: str, inner: str, first: dict[tuple[int, int], str]) -> Iterator[bytes]:
    if os.fsencode(name).startswith(_WHITEOUT):
        raise ImageError(f"{inner!r} cannot be in an image: its name says that something is removed", hint="give it another name")
    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    kind = _TYPES.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        return
    member = _member(found, kind, inner)
    identity = (found.st_dev, found.st_ino)
    if found.st_nlink > 1 and kind != tarfile.DIRTYPE and first.setdefault(identity, inner) != inner:
        member.type, member.linkname, member.size = tarfile.LNKTYPE, first[identity], 0
    else:
        member.pax_headers = {**member.pax_headers, **_xattrs(f"/proc/self/fd/{fd}/{name}")}
        if kind == tarfile.SYMTYPE:
            member.linkname = os.readlink(name, dir_fd=fd)
    yield member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if member.type == tarfile.REGTYPE:
        yield from _content(fd, name, inner, found)


def _member(found: os.stat_result, kind: bytes, inner: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(inner)
    member.type = kind
    member.mode = stat.S_IMODE(found.st_mode)
    member.uid, member.gid = found.st_uid, found.st_gid
    member.size = found.st_size if kind == tarfile.REGTYPE else 0
    member.mtime = found.st_mtime_ns // _NANO
    if found.st_mtime_ns % _NANO:
        sign = "-" if found.st_mtime_ns < 0 else ""
        seconds, fraction = divmod(abs(found.st_mtime_ns), _NANO)
        member.pax_headers = {"mtime": f"{sign}{seconds}.{fraction:09d}"}
    if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        member.devmajor, member.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
    return member


def _xattrs(path: str) -> dict[str, str]:
    """As pax records, by name."""
    try:
        names = sorted(os.listxattr(path, follow_symlinks=False))
    except OSError:
        return {}  # a file system without any
    values = {name: os.getxattr(path, name, follow_symlinks=False) for name in names if not name.startswith(_HOST_XATTRS)}
    return {f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape") for name, value in values.items()}


def _content(fd: int, name: str, inner: str, expected: os.stat_result) -> Iterator[bytes]:
    left = expected.st_size
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=fd), "rb") as file:
        if not os.path.samestat(os.fstat(file.fileno()), expected):
            raise ImageError(f"{inner!r} was replaced while it was packed", hint="pack a folder that nobody writes to")
        while left and (block := file.read(min(left, _BLOCK_BYTES))):
            left -= len(block)
            yield block
    if left:
        raise ImageError(f"{inner!r} got shorter while it was packed", hint="pack a folder that nobody writes to")
    yield bytes(-expected.st_size % _TAR_BLOCK_BYTES)
