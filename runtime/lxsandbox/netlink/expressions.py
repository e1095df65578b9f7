"""What rules of nftables are made of, see nft(8): each loads something, compares it, or says what becomes of the packet.

Numbers are of include/uapi/linux/netfilter/nf_tables.h. What is loaded lies in the first register until the next is loaded.
"""

import struct

from lxsandbox.netlink.attributes import attribute, be32, be64, nested, of_text

__all__ = [
    "IN_INDEX", "IN_NAME", "LINK_HEADER", "NETWORK_HEADER", "OUT_NAME", "TRANSPORT_HEADER", "VERSION", "accept", "chance",
    "compare", "connection_state", "counter", "drop", "ethertype", "expression", "field", "go", "in_set", "jump", "jump_data",
    "jump_for", "masked", "masquerade", "meta", "ports", "reject", "reset", "transport", "value",
]  # fmt: skip

_VERDICT, _FIRST, _SECOND = 0, 8, 12  # NFT_REG32_00 and _04: room for a name of 16 bytes each, one behind the other
_ETHERTYPE, IN_INDEX, IN_NAME, OUT_NAME, VERSION, _TRANSPORT = 1, 4, 6, 7, 15, 16  # NFT_META_*
LINK_HEADER, NETWORK_HEADER, TRANSPORT_HEADER = 0, 1, 2
_EQUAL, _UNEQUAL, _LESS = 0, 1, 2
_DROP, _ACCEPT, _JUMP, _GOTO = 0, 1, -3, -4
_TCP_RESET, _ICMPX_UNREACHABLE, _ADMIN_PROHIBITED = 1, 2, 3
_PARTS_OF_WHOLE = 1_000_000


def expression(kind: int, name: str, *data: bytes) -> bytes:
    """In an attribute of this kind: 1 of an element of a list, as a rule is one."""
    return nested(kind, of_text(1, name), nested(2, *data))


def _element(name: str, *data: bytes) -> bytes:
    return expression(1, name, *data)


def value(kind: int, data: bytes) -> bytes:
    """Bytes to compare with, or the key of an element of a set."""
    return nested(kind, attribute(1, data))


def meta(key: int, *, register: int = _FIRST) -> bytes:
    """Load what is known of the packet beside its bytes: of an interface or a protocol."""
    return _element("meta", be32(1, register), be32(2, key))


def ports(*, incoming: bool, outgoing: bool) -> bytes:
    """Load the name of the port that a packet comes in by, that it goes out by, or both."""
    wanted = [key for key, want in ((IN_NAME, incoming), (OUT_NAME, outgoing)) if want]
    return b"".join(meta(key, register=place) for place, key in zip((_FIRST, _SECOND), wanted, strict=False))


def field(base: int, offset: int, length: int) -> bytes:
    """Load bytes of a header."""
    return _element("payload", be32(1, _FIRST), be32(2, base), be32(3, offset), be32(4, length))


def masked(mask: bytes) -> bytes:
    """Keep the bits of `mask` of what is loaded."""
    registers = be32(1, _FIRST), be32(2, _FIRST)
    return _element("bitwise", *registers, be32(3, len(mask)), value(4, mask), value(5, bytes(len(mask))))


def compare(data: bytes, *, equal: bool = True) -> bytes:
    """Go on if what is loaded is (or is not) `data`."""
    return _compare(_EQUAL if equal else _UNEQUAL, data)


def _compare(operator: int, data: bytes) -> bytes:
    return _element("cmp", be32(1, _FIRST), be32(2, operator), value(3, data))


def ethertype(number: int) -> bytes:
    """Go on if the frame holds this."""
    return meta(_ETHERTYPE) + compare(struct.pack("!H", number))


def transport(number: int) -> bytes:
    """Go on if the packet holds this, say IPPROTO_TCP."""
    return meta(_TRANSPORT) + compare(bytes([number]))


def connection_state(mask: int) -> bytes:
    """Go on if the packet's connection is in one of the states: 2 established, 4 related (bits of this machine's order)."""
    load = _element("ct", be32(1, _FIRST), be32(2, 0))
    return load + masked(struct.pack("=I", mask)) + compare(bytes(4), equal=False)


def chance(share: float) -> bytes:
    """Go on for this share of packets, drawn by the kernel for each; to a millionth."""
    drawn = _element("numgen", be32(1, _FIRST), be32(2, _PARTS_OF_WHOLE), be32(3, 1), be32(4, 0))
    swapped = _element("byteorder", be32(1, _FIRST), be32(2, _FIRST), be32(3, 1), be32(4, 4), be32(5, 4))
    return drawn + swapped + _compare(_LESS, struct.pack("!I", round(share * _PARTS_OF_WHOLE)))


def in_set(name: str) -> bytes:
    """Go on if what is loaded is in the set."""
    return _element("lookup", of_text(1, name), be32(2, _FIRST))


def jump_for(name: str) -> bytes:
    """Jump to the chain that the map `name` has for what is loaded; go on with the next rule where it has none."""
    return _element("lookup", of_text(1, name), be32(2, _FIRST), be32(3, _VERDICT))


def counter(kind: int = 1) -> bytes:
    """In an attribute of this kind, as `expression` has it."""
    return expression(kind, "counter", be64(1, 0), be64(2, 0))


def accept() -> bytes:
    return _immediate(be32(1, _ACCEPT))


def drop() -> bytes:
    return _immediate(be32(1, _DROP))


def jump(chain: str) -> bytes:
    return _immediate(*_to(_JUMP, chain))


def go(chain: str) -> bytes:
    """Go on in `chain`, and do not come back."""
    return _immediate(*_to(_GOTO, chain))


def _to(code: int, chain: str) -> tuple[bytes, bytes]:
    return be32(1, code), of_text(2, chain)


def _immediate(*verdict: bytes) -> bytes:
    return _element("immediate", be32(1, _VERDICT), nested(2, nested(2, *verdict)))


def jump_data(kind: int, chain: str) -> bytes:
    """What a map has for a key: a jump to `chain`."""
    return nested(kind, nested(2, *_to(_JUMP, chain)))


def reset() -> bytes:
    """Answer a TCP segment with a reset."""
    return _element("reject", be32(1, _TCP_RESET))


def reject() -> bytes:
    """Answer that it is forbidden, by ICMP of the packet's family."""
    return _element("reject", be32(1, _ICMPX_UNREACHABLE), attribute(2, bytes([_ADMIN_PROHIBITED])))


def masquerade() -> bytes:
    return _element("masq")
