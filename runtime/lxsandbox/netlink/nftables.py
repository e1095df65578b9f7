"""Messages of nftables (include/uapi/linux/netfilter/nf_tables.h): tables, chains, sets, rules and what rules are made of.

All are of the bridge family. A batch is one transaction: the kernel takes it whole or not at all.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lxsandbox.netlink.attributes import attribute, be32, be64, children, nested, of_text, parsed
from lxsandbox.netlink.conversation import ACK, CREATE, DUMP, Conversation, Request

__all__ = [
    "ACCEPT", "DROP", "FORWARD", "INPUT", "OUTPUT", "Count", "base_chain", "chance", "commit", "compare", "counter",
    "counter_set", "delete_elements", "delete_table", "elements", "ether_bytes", "go", "in_set", "inner_chain",
    "name_key", "ports", "protocol", "read_rules", "read_set", "rule", "table", "verdict",
]  # fmt: skip

_BRIDGE = 7  # NFPROTO_BRIDGE
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE, _DELETE_TABLE, _NEW_CHAIN, _NEW_RULE, _GET_RULE = 0, 2, 3, 6, 7
_NEW_SET, _NEW_ELEMENT, _GET_ELEMENT, _DELETE_ELEMENT = 9, 12, 13, 14
INPUT, FORWARD, OUTPUT = 1, 2, 3  # NF_BR_LOCAL_IN, NF_BR_FORWARD, NF_BR_LOCAL_OUT
DROP, ACCEPT, _GOTO = 0, 1, -4
_FIRST, _SECOND = 8, 12  # NFT_REG32_00 and _04: room for a name of 16 bytes each, one behind the other
_PROTOCOL, _IN_NAME, _OUT_NAME = 1, 6, 7  # NFT_META_*
_EQUAL, _UNEQUAL, _LESS = 0, 1, 2
NAME_BYTES = 16  # IFNAMSIZ
_PARTS_OF_WHOLE = 1_000_000
_ELEMENTS_A_MESSAGE = 400  # an attribute holds 64 KiB


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """What a counter has seen."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(packets=self.packets + other.packets, bytes=self.bytes + other.bytes)


def commit(kernel: Conversation, messages: Iterable[Request]) -> None:
    """Have all `messages` done, or none. Raises OSError."""
    edge = struct.pack("=BBH", 0, 0, _SUBSYSTEM << 8)  # the number is big-endian
    kernel.ask_all([(_BATCH_BEGIN, 0, edge), *messages, (_BATCH_END, 0, edge)])


def _message(kind: int, *attributes: bytes, flags: int = 0) -> Request:
    return _SUBSYSTEM << 8 | kind, flags | ACK, struct.pack("=BBH", _BRIDGE, 0, 0) + b"".join(attributes)


def table(name: str) -> Request:
    return _message(_NEW_TABLE, of_text(1, name), flags=CREATE)


def delete_table(name: str) -> Request:
    """Takes the chains, sets and rules with it."""
    return _message(_DELETE_TABLE, of_text(1, name))


def base_chain(of: str, name: str, hook: int) -> Request:
    """A chain that the kernel itself goes through, at `hook`."""
    where = nested(4, be32(1, hook), be32(2, 0))
    return _message(_NEW_CHAIN, of_text(1, of), of_text(3, name), where, of_text(7, "filter"), flags=CREATE)


def inner_chain(of: str, name: str) -> Request:
    """A chain that rules go to."""
    return _message(_NEW_CHAIN, of_text(1, of), of_text(3, name), flags=CREATE)


def counter_set(of: str, name: str, *, names: int) -> Request:
    """A set of tuples of `names` port names, each element with a counter of its own (Linux 5.7)."""
    size = NAME_BYTES * names
    head = (of_text(1, of), of_text(2, name), be32(3, 0), be32(4, 0), be32(5, size), be32(10, 1))
    return _message(_NEW_SET, *head, attribute(17 | 0x8000, counter()[4:]), flags=CREATE)


def name_key(names: Sequence[str]) -> bytes:
    """The key of a set's element, as `ports` puts names into registers."""
    return b"".join(name.encode().ljust(NAME_BYTES, b"\0") for name in names)


def elements(of: str, name: str, keys: Sequence[bytes]) -> list[Request]:
    """Add `keys` to a set."""
    return _of_elements(_NEW_ELEMENT, of, name, keys, CREATE)


def delete_elements(of: str, name: str, keys: Sequence[bytes]) -> list[Request]:
    return _of_elements(_DELETE_ELEMENT, of, name, keys, 0)


def _of_elements(kind: int, of: str, name: str, keys: Sequence[bytes], flags: int) -> list[Request]:
    messages: list[Request] = []
    for start in range(0, len(keys), _ELEMENTS_A_MESSAGE):
        few = [nested(1, nested(1, attribute(1, key))) for key in keys[start : start + _ELEMENTS_A_MESSAGE]]
        messages.append(_message(kind, of_text(1, of), of_text(2, name), nested(3, *few), flags=flags))
    return messages


def rule(of: str, chain: str, *expressions: bytes, label: str = "") -> Request:
    """A rule at the end of `chain`; `label` is how `read_rules` tells it."""
    marked = (attribute(7, label.encode()),) if label else ()
    flags = CREATE | 0x800  # NLM_F_APPEND
    return _message(_NEW_RULE, of_text(1, of), of_text(2, chain), nested(4, *expressions), *marked, flags=flags)


def _expression(name: str, *data: bytes) -> bytes:
    return nested(1, of_text(1, name), nested(2, *data))


def ports(*, incoming: bool, outgoing: bool) -> bytes:
    """Load the name of the port that a packet comes in by, that it goes out by, or both."""
    wanted = [key for key, want in ((_IN_NAME, incoming), (_OUT_NAME, outgoing)) if want]
    places = (_FIRST, _SECOND)
    return b"".join(_expression("meta", be32(1, place), be32(2, key)) for place, key in zip(places, wanted, strict=False))


def in_set(name: str) -> bytes:
    """Go on if what `ports` loaded is in the set."""
    return _expression("lookup", of_text(1, name), be32(2, _FIRST))


def protocol(number: int) -> bytes:
    """Go on if the packet is of this ethertype."""
    return _expression("meta", be32(1, _FIRST), be32(2, _PROTOCOL)) + compare(struct.pack("!H", number))


def ether_bytes(offset: int, length: int) -> bytes:
    """Load bytes of the frame, counted from its destination address."""
    return _expression("payload", be32(1, _FIRST), be32(2, 0), be32(3, offset), be32(4, length))


def compare(value: bytes, *, equal: bool = True) -> bytes:
    """Go on if what was loaded is (or is not) `value`."""
    return _expression("cmp", be32(1, _FIRST), be32(2, _EQUAL if equal else _UNEQUAL), nested(3, attribute(1, value)))


def chance(share: float) -> bytes:
    """Go on for this share of packets, drawn by the kernel for each; to a millionth."""
    drawn = _expression("numgen", be32(1, _FIRST), be32(2, _PARTS_OF_WHOLE), be32(3, 1), be32(4, 0))
    swapped = _expression("byteorder", be32(1, _FIRST), be32(2, _FIRST), be32(3, 1), be32(4, 4), be32(5, 4))
    below = struct.pack("!I", round(share * _PARTS_OF_WHOLE))
    return drawn + swapped + _expression("cmp", be32(1, _FIRST), be32(2, _LESS), nested(3, attribute(1, below)))


def counter() -> bytes:
    return _expression("counter", be64(1, 0), be64(2, 0))


def verdict(code: int) -> bytes:
    return _expression("immediate", be32(1, 0), nested(2, nested(2, be32(1, code))))


def go(chain: str) -> bytes:
    """Go on in `chain`, and do not come back."""
    return _expression("immediate", be32(1, 0), nested(2, nested(2, be32(1, _GOTO), of_text(2, chain))))


def read_set(kernel: Conversation, of: str, name: str) -> dict[bytes, Count]:
    """The counter of each element of a set."""
    kind, _, body = _message(_GET_ELEMENT, of_text(1, of), of_text(2, name))
    counts: dict[bytes, Count] = {}
    for answer in kernel.ask_all([(kind, DUMP, body)]):
        for _, element in children(parsed(answer[4:]).get(3, b"")):
            fields = parsed(element)
            counts[parsed(fields[1])[1]] = _counted(fields.get(7, b""))
    return counts


def read_rules(kernel: Conversation, of: str) -> dict[str, Count]:
    """The counter of each labelled rule of a table, added up by label."""
    kind, _, body = _message(_GET_RULE, of_text(1, of))
    counts: dict[str, Count] = {}
    for answer in kernel.ask_all([(kind, DUMP, body)]):
        fields = parsed(answer[4:])
        label = fields.get(7, b"").decode()
        if label:
            found = [_counted(each) for _, each in children(fields[4])]
            counts[label] = sum(found, counts.get(label, Count()))
    return counts


def _counted(expression: bytes) -> Count:
    fields = parsed(expression)
    if fields.get(1) != b"counter\0":
        return Count()
    numbers = parsed(fields[2])
    return Count(bytes=int.from_bytes(numbers[1], "big"), packets=int.from_bytes(numbers[2], "big"))
