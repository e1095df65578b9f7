"""Netlink attributes (struct nlattr, netlink(7)): bytes from values and back. Numbers are big-endian, as nftables has them."""

from __future__ import annotations

import struct

__all__ = ["attribute", "be32", "be64", "children", "nested", "of_text", "parsed"]

_NESTED = 0x8000  # include/uapi/linux/netlink.h
_KIND_MASK = 0x3FFF
_HEAD = struct.Struct("=HH")


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _HEAD.pack(_HEAD.size + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *inner: bytes) -> bytes:
    """An attribute that holds others."""
    return attribute(kind | _NESTED, b"".join(inner))


def of_text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def be32(kind: int, number: int) -> bytes:
    return attribute(kind, struct.pack("!i" if number < 0 else "!I", number))


def be64(kind: int, number: int) -> bytes:
    return attribute(kind, struct.pack("!Q", number))


def children(data: bytes) -> list[tuple[int, bytes]]:
    """The attributes in `data`, in order: lists repeat one kind."""
    found: list[tuple[int, bytes]] = []
    while len(data) >= _HEAD.size:
        length, kind = _HEAD.unpack_from(data)
        if not _HEAD.size <= length <= len(data):
            break
        found.append((kind & _KIND_MASK, data[_HEAD.size : length]))
        data = data[(length + 3) & ~3 :]
    return found


def parsed(data: bytes) -> dict[int, bytes]:
    """The attributes in `data`, by kind."""
    return dict(children(data))
