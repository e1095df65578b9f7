"""Archives by a grammar: entries of every kind under few names, so that they meet, with what is odd about each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from fuzz.mutation import chance, damaged, some_of
from images.unpack.making import END, device, entry, file, folder, global_pax, hard_link, header, link, long_link, long_name, pax

from lxsandbox.images.unpack.headers import check_sum

__all__ = ["OUTSIDE_BYTES", "tar"]

OUTSIDE_BYTES = 96  # of a path that archives try to reach: always as many, so that one seed makes archives of equal length

_UP = b"../" * 30
_PLAIN_NAMES = (
    b"a", b"b", b"c", b"l", b"a/", b"a/b", b"a/b/c", b"b/a", b"l/x", b"l/a/b", b"./a", b"/a", b"//b//c", b"a/./b", b"./",
    b"l/.wh.x", b".wh.a", b"a/.wh.b", b"a/.wh..wh..opq", b"\xff\xfe", b"n" * 100, b"n" * 255, b"p/" * 60 + b"x",
)  # fmt: skip
_ODD_NAMES = (
    b"a/../b", b"../x", _UP + b"x", b"", b".", b"/", b"..", b"a/..", b"a/.wh.b/c", b".wh.l", b".wh..wh..opq", b"l/.wh..wh..opq",
    b".wh..wh.plnk", b".wh..wh.plnk/a", b".wh.", b".wh..", b".wh...", b"a/.wh.", b"a\n\x1b[2J", b"n" * 99, b"n" * 256,
    b"p/" * 210, b"q/" * 2047, b"q/" * 2050, b"a\0b", b" ", b"a ", b"\\", b"\xc3\xa4",
)  # fmt: skip
_PLAIN_TARGETS = (b"a", b"b", b"c", b"a/b", b"/a", b"..", b".", b"/", b"./b", b"/c/d", _UP + b"a", b"x" * 200)
_ODD_TARGETS = (
    b"l", b"../..", _UP, b"", b"x" * 100, b"x" * 300, b"y/" * 2100, b"a/../../b", b"a\0b", b"\xff", b"/dev/null",
    b"/proc/self/root",
)  # fmt: skip
_FIELDS = (
    b"", b" ", b"\0", b"0000644\0", b"-1", b"19", b"0x10", b"1_0", b"rwx", b"\xff" * 12, b"\x80" + b"\x7f" * 11,
    b"\x80" + b"\0" * 10 + b"\x07", b"\xff" * 11 + b"\xfe", b"\x80" * 12, b"77777777777", b"7" * 12, b"1 7", b"4294967295",
)  # fmt: skip
_VALUES = (
    b"", b"0", b"1", b"-1", b"7", b"511", b"512", b"1000", b"4294967294", b"4294967295", b"9" * 20, b"9" * 21, b"9" * 5000,
    b"1.5", b"-1.5", b"1.", b".5", b"0.123456789999", b"1e3", b"x", b"0,512", b"0,1,1,511", b"1024,256,0,256", b"4000,512",
    b"0,0", b",", b"a", b"../x", b"a/b", b".wh.a", b"\0", b"\xff", b"y" * 70_000, b"\xd9\xa3", b"1099511627776", b"68719476736",
    bytes(20), bytes.fromhex("0200000001000600ffffffff020004002100000004000400ffffffff10000600ffffffff20000400ffffffff"),
)  # fmt: skip
_CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # VFS_CAP_REVISION_2, CAP_NET_RAW
_XATTRS = (
    b"user.a", b"user.b", b"user.overlay.opaque", b"user.overlay.whiteout", b"user.overlay.redirect", b"user.overlay.metacopy",
    b"trusted.overlay.opaque", b"trusted.x", b"security.capability", b"security.selinux", b"security.ima", b"system.x", b"",
    b"system.posix_acl_access", b"system.posix_acl_default", b"user.", b"user." + b"x" * 250, b"user." + b"x" * 251,
    b"user.a%3Db",
)  # fmt: skip
_SPARSE = tuple(
    b"GNU.sparse." + key for key in (b"map", b"size", b"major", b"minor", b"realsize", b"offset", b"numbytes", b"name")
)
_KEYS = (
    b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"atime", b"comment", b"hdrcharset", b"GNU.sparse.numblocks",
    *_SPARSE, *(b"SCHILY.xattr." + name for name in _XATTRS),
)  # fmt: skip
_KINDS = [b"%c" % kind for kind in b"0123456789SLKxgVMDNAXs\0 \xff"]


def tar(random: Random, outside: bytes = b"/outside") -> bytes:
    """An archive, perhaps damaged; `outside` is a folder that it tries to reach."""
    reach = _Reach(random, outside)
    data = b"".join(_part(random, reach) for _ in range(random.choice((1, 2, 3, 5, 8, 13, 30))))
    data += random.choice((*(END,) * 20, b"", bytes(512), bytes(5 << 10), END + b"x", bytes(512) + data[:600]))
    if reach.oddness and chance(random, 0.35):
        data = _mended(random, data)
    elif reach.oddness and chance(random, 0.15):
        data = damaged(random, data)
    return data[: random.randrange(len(data) + 1)] if chance(random, 0.05) else data


def _mended(random: Random, data: bytes) -> bytes:
    """Damage to headers, whose checksums are right again: or hardly any would get further than to those."""
    made = bytearray(data)
    headers = [at for at in range(0, len(made) - 511, 512) if made[at] and check_sum(bytes(made[at : at + 512]))]
    for _ in range(random.randint(1, 6)):
        if not headers:
            break
        at = random.choice(headers)
        to = at + random.choice(
            (0, 100, 108, 116, 124, 136, 156, 157, 257, 263, 329, 337, 345, 386, 482, 483, random.randrange(512))
        )
        what = random.choice((*_FIELDS, *_ODD_NAMES[:30], *_KINDS))[: at + 512 - to]
        made[to : to + len(what)] = what
        made[at + 148 : at + 156] = b" " * 8
        made[at + 148 : at + 156] = b"%06o\0 " % sum(made[at : at + 512])
    return bytes(made)


class _Reach:
    """Names and targets, among them some that lead to the folder outside; how many are odd differs from archive to archive."""

    def __init__(self, random: Random, outside: bytes) -> None:
        places = (outside, outside + b"/file", outside + b"/below", _UP + outside)
        self._random = random
        self._odd_names = (*_ODD_NAMES, *places, outside + b"/new")
        self._plain_targets, self._odd_targets = (*_PLAIN_TARGETS, *places), _ODD_TARGETS
        self.oddness = random.choice((0, 0, 0.02, 0.1, 0.5))

    def odd(self) -> bool:
        """Whether something odd is to come here."""
        return chance(self._random, self.oddness)

    def name(self) -> bytes:
        return self._random.choice(self._odd_names if self.odd() else _PLAIN_NAMES)

    def target(self) -> bytes:
        return self._random.choice(self._odd_targets if self.odd() else self._plain_targets)


def _part(random: Random, reach: _Reach) -> bytes:
    return random.choice(_ODD_PARTS if reach.odd() else _PLAIN_PARTS)(random, reach)


def _content(random: Random) -> bytes:
    return random.choice(
        (
            b"",
            b"x",
            b"evil" * 30,
            b"z" * 511,
            b"z" * 512,
            b"z" * 513,
            bytes(600),
            b"c" * 5000,
            bytes(70_000),
            b"c" + bytes(140_000),
        )
    )


def _numbers(random: Random) -> dict[str, int]:
    made = {
        "mode": random.choice((0, 0o400, 0o644, 0o755, 0o1777, 0o6755, 0o7777, 0o100644)),
        "uid": random.choice((0, 0, 0, 1000, 65_534, 2_000_000)),
        "gid": random.choice((0, 0, 0, 5, 65_534)),
        "mtime": random.choice((0, 1, 1_600_000_000, 8**11 - 1)),
    }
    return {name: value for name, value in made.items() if chance(random, 0.4)}


def _file(random: Random, reach: _Reach) -> bytes:
    return file(reach.name(), _content(random), **_numbers(random))


def _folder(random: Random, reach: _Reach) -> bytes:
    return folder(reach.name(), **_numbers(random))


def _link(random: Random, reach: _Reach) -> bytes:
    return link(reach.name(), reach.target())


def _hard_link(random: Random, reach: _Reach) -> bytes:
    return hard_link(reach.name(), (reach.name() if chance(random, 0.8) else reach.target()))


def _node(random: Random, reach: _Reach) -> bytes:
    name = reach.name()
    if chance(random, 0.4):
        return entry(name, b"6", **_numbers(random))
    numbers = random.choice((0, 0, 1, 5, 4095, 2**21 - 1)), random.choice((0, 0, 3, 255, 256, 2**20, 2**21 - 1))
    return device(name, *numbers, kind=random.choice((b"3", b"4")))


def _extended(random: Random, reach: _Reach) -> bytes:
    records = [
        (random.choice(_KEYS), (random.choice(_VALUES) if reach.odd() else reach.name()))
        for _ in range(random.choice((1, 1, 2, 3, 8)))
    ]
    records = [(key.replace(b"=", b"_"), value) for key, value in records]
    before = pax(*records)
    if reach.odd():
        before = _mended_size(random, before)
    return before + (b"" if reach.odd() else _part(random, reach))


def _attributes(random: Random, reach: _Reach) -> bytes:
    """An entry with attributes and times that it can have, or that are left out."""
    records: list[tuple[bytes, bytes]] = [(b"mtime", random.choice((b"1.5", b"-1.5", b"1600000000.123456789")))]
    for name in some_of(random, _XATTRS[:10], 3):
        value = _CAPABILITY if name == b"security.capability" else random.choice((b"", b"y", b"a\0b\n=", bytes(200)))
        records.append((b"SCHILY.xattr." + name, value))
    return pax(*records) + _part(random, reach)


def _mended_size(random: Random, extension: bytes) -> bytes:
    body = damaged(random, extension[512:], most=3)
    return entry(b"pax", extension[156:157], body)


def _global(random: Random, reach: _Reach) -> bytes:
    return global_pax((random.choice(_KEYS), (random.choice(_VALUES) if reach.odd() else b"7")))


def _before(random: Random, reach: _Reach) -> bytes:
    text = random.choice((reach.name(), reach.target(), b"m" * 70_000) if reach.odd() else (reach.name(),))
    return random.choice((long_name, long_link))(text) + _part(random, reach)


def _sparse(random: Random, reach: _Reach) -> bytes:
    """Sparse by records 0.0 or 0.1."""
    numbers, size, stored = _holes(random, reach)
    if chance(random, 0.5):
        records = [(b"GNU.sparse.map", b",".join(b"%d" % number for number in numbers))]
    else:
        keys = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        records = [(keys[n % 2], b"%d" % number) for n, number in enumerate(numbers)]
    name = [(b"GNU.sparse.name", reach.name())] if chance(random, 0.4) else []
    return pax((b"GNU.sparse.size", b"%d" % size), *records, *name) + file(reach.name(), b"s" * stored)


def _map(random: Random, reach: _Reach) -> bytes:
    """Sparse by records 1.0: the map is in front of the content."""
    numbers, size, stored = _holes(random, reach)
    count = len(numbers) // 2 if not reach.odd() else random.choice((0, 1, 5000, 10**9, 10**30))
    lines = b"".join(b"%d\n" % number for number in (count, *numbers))
    lines += bytes(-len(lines) % 512)
    records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"%d" % size)]
    return pax(*records) + file(reach.name(), lines + b"s" * stored)


def _old_sparse(random: Random, reach: _Reach) -> bytes:
    """Sparse by GNU's own header, and the blocks behind it."""
    numbers, size, stored = _holes(random, reach)
    pairs = [b"%011o\0" % number for number in numbers]
    more = [pairs[at : at + 42] for at in range(8, len(pairs), 42)]
    rest = bytes(41) + b"".join(pairs[:8]).ljust(96, b"\0") + bytes([bool(more)]) + b"%011o\0" % size
    blocks = [(b"".join(each).ljust(504, b"\0") + bytes([n < len(more)])).ljust(512, b"\0") for n, each in enumerate(more, 1)]
    if blocks and reach.odd():
        blocks[-1] = blocks[-1][:504] + b"\1" + blocks[-1][505:]
    own = header(reach.name()[:100], b"S", size=stored, magic=b"ustar  \0", rest=rest)
    return own + b"".join(blocks) + b"s" * stored + bytes(-stored % 512)


def _holes(random: Random, reach: _Reach) -> tuple[list[int], int, int]:
    """Offsets and counts in turn, the size of the file, and how much of it is stored: right, but for one in five."""
    numbers: list[int] = []
    end = 0
    for _ in range(random.choice((0, 1, 2, 4, 5, 26, 60))):
        offset = end + random.choice((0, 1, 511, 512, 4096, 65_536, 1 << 30))
        count = random.choice((0, 1, 512, 700))
        numbers += (offset, count)
        end = offset + count
    stored, size = sum(numbers[1::2]), end + random.choice((0, 0, 1, 4096, 1 << 33))
    if numbers and reach.odd():
        numbers[random.randrange(len(numbers))] = random.choice((0, 1, 512, 1 << 32, 1 << 32))
    return numbers, size, stored


def _whiteout(random: Random, reach: _Reach) -> bytes:
    folders = some_of(random, (b"a", b"b", b"l", b"c", b".wh.a", b"..", b".", b".wh..wh.x"), 3)
    name = random.choice(
        (b".wh.a", b".wh.b", b".wh.l", b".wh.x", b".wh..wh..opq", b".wh.", b".wh..", b".wh.a.wh.b", b".wh..wh.aufs")
    )
    kind = random.choice((b"0", b"0", b"0", b"5", b"2", b"1", b"3"))
    return entry(b"/".join([*folders, name]), kind, link=b"a")


def _odd(random: Random, reach: _Reach) -> bytes:
    """A header with some field that makes no sense."""
    lengths = {"size": 12, "mode": 8, "uid": 8, "gid": 8, "mtime": 12, "major": 8, "minor": 8}
    fields: dict[str, bytes] = {}
    for name in some_of(random, list(lengths), 3):
        fields[name] = random.choice(_FIELDS)[: lengths[name]]
    magic = random.choice((b"ustar\x0000", b"ustar  \0", bytes(8), b"ustar\x0099"))
    prefix = random.choice((b"", b"", b"..", b"a", b"/", b"p" * 155, b"p".ljust(131, b"\0") + b"0" * 32 + b"tar\0"))
    name = reach.name()[:100]
    return header(name, random.choice(_KINDS), magic=magic, prefix=prefix, link=reach.target()[:100], **fields)  # type: ignore[arg-type]


_PLAIN_PARTS: Sequence[Callable[[Random, _Reach], bytes]] = (
    _file, _file, _file, _folder, _folder, _link, _hard_link, _node, _attributes, _sparse, _map, _old_sparse, _whiteout,
    _global, _before,
)  # fmt: skip
_ODD_PARTS: Sequence[Callable[[Random, _Reach], bytes]] = (_odd, _extended, _extended, _global, _before, _hard_link, _whiteout)
