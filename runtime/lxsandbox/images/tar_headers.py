"""Headers of a tar archive in the format of pax(1): from what a file is to the bytes that stand before its content.

Loaded by a clone of the spawner. Not by tarfile, which takes longer to load than a small layer takes to pack, and half as long
again for each file, while a sandbox stands still.
"""

import os
import stat
import struct

__all__ = ["HARD_LINK", "entry", "mark", "raw"]

# pax(1), "ustar Interchange Format": name mode uid gid size mtime chksum typeflag linkname magic uname gname devmajor devminor
# prefix.
_USTAR = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_MAGIC = b"ustar\x0000"
_FILE, HARD_LINK, _LINK, _CHARACTER, _BLOCK, _FOLDER, _FIFO, _EXTENDED = b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"x"
_KINDS = {
    stat.S_IFREG: _FILE,
    stat.S_IFLNK: _LINK,
    stat.S_IFCHR: _CHARACTER,
    stat.S_IFBLK: _BLOCK,
    stat.S_IFDIR: _FOLDER,
    stat.S_IFIFO: _FIFO,
}


def mark(path: str) -> bytes:
    """The entry of an empty file that stands for something else, the same whenever it is made."""
    return _ustar(raw(path), _FILE) if _is_plain(raw(path)) else _extended({"path": raw(path)}) + _ustar(raw(path), _FILE)


def entry(
    path: str,
    status: os.stat_result,
    *,
    kind: bytes = b"",
    link: str = "",
    size: int = 0,
    attributes: "dict[str, bytes] | None" = None,
) -> bytes:
    """The headers of one entry: what ustar cannot say is said before, in an extended header of pax(1)."""
    name, target = raw(path), raw(link)
    seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
    device = status.st_rdev if stat.S_IFMT(status.st_mode) in (stat.S_IFCHR, stat.S_IFBLK) else 0
    records: dict[str, bytes] = {}
    if not _is_plain(name):
        records["path"] = name
    if not _is_plain(target):
        records["linkpath"] = target
    for key, value, digits in (("size", size, 11), ("uid", status.st_uid, 7), ("gid", status.st_gid, 7)):
        if value >= 8**digits:
            records[key] = b"%d" % value
    if nanoseconds or not 0 <= seconds < 8**11:
        records["mtime"] = _decimal(status.st_mtime_ns)
    for key, content in (attributes or {}).items():
        # As GNU tar writes them: pax(1) ends a keyword at the first equals sign.
        records["SCHILY.xattr." + key.replace("%", "%25").replace("=", "%3D")] = content
    header = _ustar(
        name,
        kind or _KINDS[stat.S_IFMT(status.st_mode)],
        mode=stat.S_IMODE(status.st_mode),
        owner=(status.st_uid, status.st_gid),
        size=size,
        mtime=seconds,
        link=target,
        device=device,
    )
    return _extended(records) + header if records else header


def raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _is_plain(name: bytes) -> bool:
    return len(name) <= 100 and name.isascii()


def _decimal(nanoseconds: int) -> bytes:
    seconds, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    return (f"{'-' if nanoseconds < 0 else ''}{seconds}.{fraction:09}").rstrip("0").rstrip(".").encode()


def _extended(records: dict[str, bytes]) -> bytes:
    """An extended header, see pax(1) "pax Extended Header"."""
    body = b"".join(_record(raw(key), value) for key, value in records.items())
    if not all(_is_utf8(records.get(key, b"")) for key in ("path", "linkpath")):
        body = _record(b"hdrcharset", b"BINARY") + body
    return _ustar(b"././@PaxHeader", _EXTENDED, size=len(body)) + body + bytes(-len(body) % 512)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest + len(str(rest))))  # which counts its own digits
    return b"%d %s=%s\n" % (length, key, value)


def _ustar(
    name: bytes,
    kind: bytes,
    *,
    mode: int = 0o644,
    owner: tuple[int, int] = (0, 0),
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    device: int = 0,
) -> bytes:
    numbers = [_octal(mode, 7), _octal(owner[0], 7), _octal(owner[1], 7), _octal(size, 11), _octal(mtime, 11)]
    devices = (_octal(os.major(device), 7), _octal(os.minor(device), 7))
    fields = (kind, link[:100], _MAGIC, b"", b"", *devices, b"")
    checksum = sum(_USTAR.pack(name[:100], *numbers, b" " * 8, *fields))
    return _USTAR.pack(name[:100], *numbers, b"%06o\0 " % checksum, *fields)


def _octal(number: int, digits: int) -> bytes:
    return b"%0*o" % (digits, number if 0 <= number < 8**digits else 0)
