"""Netlink attributes (struct nlattr, netlink(7)): bytes from values and back.

A `number` is of this machine's order, as route netlink has them; `be32` and `be64` are big-endian, as nftables has them.
"""

import struct

__all__ = ["attribute", "be32", "be64", "children", "nested", "number", "of_text", "parsed"]

_NESTED = 0x8000  # include/uapi/linux/netlink.h
_KIND_MASK = 0x3FFF
_HEAD = struct.Struct("=HH")
_NUMBER, _BE32, _BE32_SIGNED, _BE64 = struct.Struct("=I"), struct.Struct("!I"), struct.Struct("!i"), struct.Struct("!Q")


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _HEAD.pack(_HEAD.size + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *inner: bytes) -> bytes:
    """An attribute that holds others."""
    return attribute(kind | _NESTED, b"".join(inner))


def of_text(kind: int, text: str) -> bytes:
    """An attribute that holds a string with its NUL."""
    return attribute(kind, text.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """An attribute that holds 32 bits."""
    return attribute(kind, _NUMBER.pack(value))


def be32(kind: int, value: int) -> bytes:
    return attribute(kind, (_BE32_SIGNED if value < 0 else _BE32).pack(value))


def be64(kind: int, value: int) -> bytes:
    return attribute(kind, _BE64.pack(value))


def children(data: bytes, offset: int = 0) -> list[tuple[int, bytes]]:
    """The attributes in `data` from `offset` on, in order: lists repeat one kind."""
    found: list[tuple[int, bytes]] = []
    while offset + _HEAD.size <= len(data):
        length, kind = _HEAD.unpack_from(data, offset)
        if not _HEAD.size <= length <= len(data) - offset:
            break
        found.append((kind & _KIND_MASK, data[offset + _HEAD.size : offset + length]))
        offset += (length + 3) & ~3
    return found


def parsed(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes in `data` from `offset` on, by kind."""
    return dict(children(data, offset))
