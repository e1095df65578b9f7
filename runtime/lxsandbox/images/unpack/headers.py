"""The headers of a tar archive: from bytes to an entry, and nothing else.

Read are ustar with its pax records (POSIX.1-2017, pax, "pax Interchange Format" and "ustar Interchange Format"), GNU's variant
(GNU tar 1.35, "Basic Tar Format"), Schily's (star(5)) and what was before them (v7). Whatever is wrong is Refused.
"""

import struct

from lxsandbox.images.unpack.refusal import Refused

__all__ = [
    "BLOCK_BYTES",
    "DEVICES",
    "FIFO",
    "FILES",
    "FOLDER",
    "HARD_LINK",
    "LINK",
    "Entry",
    "Segments",
    "apply_pax",
    "check_sum",
    "decimal",
    "parse_header",
    "parse_number",
    "parse_pax",
]

BLOCK_BYTES = 512
FILES, HARD_LINK, LINK, DEVICES, FOLDER, FIFO = (b"0", b"\0", b"7", b"S"), b"1", b"2", (b"3", b"4"), b"5", b"6"

# name, mode, uid, gid, size, mtime, checksum (skipped), type, link, magic, names of owner and group (skipped), major, minor, rest
_FIELDS = struct.Struct("100s8s8s8s12s12s8xc100s8s64x8s8s167s")
_USTAR = b"ustar\x0000"
_STAR_END = b"tar\0"  # Schily's: the last 36 bytes are no part of the prefix
_WITHOUT_CONTENT = frozenset((HARD_LINK, LINK, *DEVICES, FOLDER, FIFO))
_XATTR = b"SCHILY.xattr."

_MOST_BYTES = (1 << 62) - 1
_MOST_ID = (1 << 32) - 2  # the last one means "as it is" to chown(2)
_MOST_SECONDS = 1 << 40
_MOST_DIGITS = 20
_NANO = 1_000_000_000

Segments = list[tuple[int, int]]  # offset and count of bytes, ascending


class Entry:
    """An entry: `kind` is the header's type flag, `size` what is stored of it, `real_size` what it has when made.

    `segments` is where the stored bytes belong, None where they are the content as it is.
    """

    __slots__ = (
        "device", "gid", "kind", "link", "mode", "mtime_ns", "name", "real_size", "segments", "size", "uid", "xattrs",
    )  # fmt: skip

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    real_size: int
    mtime_ns: int
    link: bytes
    device: tuple[int, int]
    xattrs: dict[bytes, bytes]
    segments: Segments | None


def check_sum(block: bytes) -> bool:
    """Whether the header's checksum is right: a sum of its bytes, the field itself taken as spaces."""
    try:
        expected = parse_number(block[148:156], "checksum")
    except Refused:
        return False
    others = block[:148] + block[156:]
    found = sum(others) + 8 * ord(" ")
    # Old tars took bytes as signed.
    return expected == found or expected == found - 256 * sum(byte > 127 for byte in others)


def parse_number(field: bytes, what: str) -> int:
    """A number in octal digits, or in base 256 where its first bit is set (GNU; may be negative). Raises Refused."""
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if field[0] & 0x40 else value
    digits = field.strip(b" \0").partition(b"\0")[0].rstrip(b" ")
    # isdigit first: int() would take signs, underscores and a prefix.
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise Refused(f"its {what} {field!r} is no number")
    return int(digits, 8)


def parse_header(block: bytes) -> Entry:
    """The entry of a header whose checksum is right. Raises Refused for fields that make no sense, without saying where."""
    name, mode, uid, gid, size, mtime, kind, link, magic, major, minor, rest = _FIELDS.unpack(block)
    entry = Entry()
    entry.name = _name(name, magic, rest)
    entry.link = link.partition(b"\0")[0]
    entry.kind = FOLDER if kind == b"\0" and entry.name.endswith(b"/") else kind  # v7 has no type for folders
    entry.mode = parse_number(mode, "mode") & 0o7777
    entry.uid = _bounded(parse_number(uid, "owner"), _MOST_ID, "owner")
    entry.gid = _bounded(parse_number(gid, "group"), _MOST_ID, "group")
    # POSIX says that the size of these means nothing (of folders, something else), and archives have had it.
    entry.size = 0 if kind in _WITHOUT_CONTENT else _bounded(parse_number(size, "size"), _MOST_BYTES, "size")
    entry.real_size = entry.size
    entry.mtime_ns = _time(parse_number(mtime, "time")) * _NANO
    entry.xattrs = {}
    entry.segments = None
    if kind in DEVICES:
        entry.device = (_bounded(parse_number(major, "device"), _MOST_ID, "device"), parse_number(minor, "device"))
        _bounded(entry.device[1], _MOST_ID, "device")
    return entry


def _name(name: bytes, magic: bytes, rest: bytes) -> bytes:
    name = name.partition(b"\0")[0]
    if magic != _USTAR or not rest[0]:
        return name
    prefix = rest[: 131 if rest[163:] == _STAR_END else 155].partition(b"\0")[0]
    return prefix + b"/" + name


def _bounded(value: int, most: int, what: str) -> int:
    if not 0 <= value <= most:
        raise Refused(f"its {what} is {value}")
    return value


def _time(seconds: int) -> int:
    if abs(seconds) > _MOST_SECONDS:
        raise Refused(f"its time is {seconds} seconds from 1970")
    return seconds


def parse_pax(data: bytes) -> list[tuple[bytes, bytes]]:
    r"""The records of a pax header, each `LENGTH KEY=VALUE\n`, in order. Raises Refused."""
    records: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + _MOST_DIGITS + 1)
        if space < 0 or not data[at:space].isdigit():
            raise Refused("a pax record has no length")
        end = at + int(data[at:space])
        if not space < end <= len(data) or data[end - 1 : end] != b"\n":
            raise Refused("a pax record does not end where it says")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not key or not equals or b"\0" in key:
            raise Refused("a pax record has no key")
        records.append((key, value))
        at = end
    return records


def apply_pax(entry: Entry, records: dict[bytes, bytes]) -> None:
    """Let the records say what the header's own fields are too small for. An empty value means the header's. Raises Refused."""
    for key, value in records.items():
        if key.startswith(_XATTR):
            entry.xattrs[_decoded(key[len(_XATTR) :])] = value
        elif not value:
            continue
        elif key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.link = value
        elif key == b"uid":
            entry.uid = _bounded(decimal(value, "owner"), _MOST_ID, "owner")
        elif key == b"gid":
            entry.gid = _bounded(decimal(value, "group"), _MOST_ID, "group")
        elif key == b"mtime":
            entry.mtime_ns = _pax_time(value)
        elif key == b"size" and entry.kind not in _WITHOUT_CONTENT:
            entry.size = entry.real_size = _bounded(decimal(value, "size"), _MOST_BYTES, "size")


def _decoded(name: bytes) -> bytes:
    """The name of an attribute: in a record an equals sign would end it, so GNU tar spells that, and percent signs."""
    return name.replace(b"%3D", b"=").replace(b"%25", b"%")


def decimal(value: bytes, what: str) -> int:
    """A number as pax records have them. Raises Refused."""
    if not value.isdigit() or len(value) > _MOST_DIGITS:
        raise Refused(f"its {what} {value[:_MOST_DIGITS]!r} is no number")
    return int(value)


def _pax_time(value: bytes) -> int:
    """Nanoseconds since 1970, from seconds with a fraction, before 1970 with a minus."""
    whole, _, fraction = value.removeprefix(b"-").partition(b".")
    nanoseconds = decimal(fraction[:9].ljust(9, b"0"), "time")
    total = _time(decimal(whole, "time")) * _NANO + nanoseconds
    return -total if value.startswith(b"-") else total
