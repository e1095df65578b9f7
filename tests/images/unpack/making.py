"""Archives made by hand, block for block: also those that no program would make."""

from __future__ import annotations

from typing import Any

__all__ = [
    "END",
    "device",
    "entry",
    "file",
    "folder",
    "global_pax",
    "hard_link",
    "header",
    "link",
    "long_link",
    "long_name",
    "pax",
]

END = bytes(1024)


def header(
    name: bytes, kind: bytes = b"0", *, link: bytes = b"", size: int | bytes = 0, mode: int | bytes = 0o644, uid: int | bytes = 0,
    gid: int | bytes = 0, mtime: int | bytes = 1, major: int | bytes = 0, minor: int | bytes = 0, magic: bytes = b"ustar\x0000",
    prefix: bytes = b"", rest: bytes = b"", checksum: bytes | None = None,
) -> bytes:  # fmt: skip
    """One header; a number that is given as bytes is the field as it is, `rest` is what stands from byte 345 on."""
    numbers = _field(mode, 8) + _field(uid, 8) + _field(gid, 8) + _field(size, 12) + _field(mtime, 12)
    fields = [
        name.ljust(100, b"\0"), numbers, b" " * 8, kind, link.ljust(100, b"\0"), magic, bytes(64),
        _field(major, 8), _field(minor, 8), (rest or prefix).ljust(167, b"\0"),
    ]  # fmt: skip
    block = b"".join(fields)
    assert len(block) == 512, len(block)
    return block[:148] + (b"%06o\0 " % sum(block) if checksum is None else checksum) + block[156:]


def _field(value: int | bytes, length: int) -> bytes:
    return value.ljust(length, b"\0") if isinstance(value, bytes) else b"%0*o\0" % (length - 1, value)


def entry(name: bytes, kind: bytes = b"0", content: bytes = b"", **fields: Any) -> bytes:
    """A header and its content, padded; GNU's headers in front of it where a name is too long."""
    link = fields.pop("link", b"")
    before = (long_name(name) if len(name) > 100 else b"") + (long_link(link) if len(link) > 100 else b"")
    own = header(name[:100], kind, **{"size": len(content), "link": link[:100], **fields})
    return before + own + content + bytes(-len(content) % 512)


def file(name: bytes, content: bytes = b"", **fields: Any) -> bytes:
    return entry(name, b"0", content, **fields)


def folder(name: bytes, **fields: Any) -> bytes:
    return entry(name, b"5", mode=fields.pop("mode", 0o755), **fields)


def link(name: bytes, target: bytes, **fields: Any) -> bytes:
    return entry(name, b"2", link=target, mode=0o777, **fields)


def hard_link(name: bytes, target: bytes) -> bytes:
    return entry(name, b"1", link=target)


def device(name: bytes, major: int, minor: int, kind: bytes = b"3") -> bytes:
    return entry(name, kind, major=major, minor=minor)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """A header with records for the next entry."""
    return entry(b"pax", kind, b"".join(_record(key, value) for key, value in records))


def global_pax(*records: tuple[bytes, bytes]) -> bytes:
    return pax(*records, kind=b"g")


def long_name(name: bytes) -> bytes:
    """GNU's: the name of the next entry."""
    return entry(b"././@LongLink", b"L", name + b"\0", magic=b"ustar  \0")


def long_link(target: bytes) -> bytes:
    return entry(b"././@LongLink", b"K", target + b"\0", magic=b"ustar  \0")


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest
