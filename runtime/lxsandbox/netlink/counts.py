"""What counters of nftables have seen: of the elements of a set, and of rules."""

from __future__ import annotations

from dataclasses import dataclass

from lxsandbox.netlink.attributes import children, parsed
from lxsandbox.netlink.conversation import Conversation
from lxsandbox.netlink.nftables import Table

__all__ = ["Count", "read_rules", "read_set"]

_HEAD_BYTES = 4  # struct nfgenmsg


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """What a counter has seen."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(packets=self.packets + other.packets, bytes=self.bytes + other.bytes)


def read_set(kernel: Conversation, table: Table, name: str) -> dict[bytes, Count]:
    """The counter of each element of a set."""
    counts: dict[bytes, Count] = {}
    for answer in kernel.ask(table.read_set(name)):
        for _, element in children(parsed(answer, _HEAD_BYTES).get(3, b"")):
            fields = parsed(element)
            counts[parsed(fields[1])[1]] = _counted(fields.get(7, b""))
    return counts


def read_rules(kernel: Conversation, table: Table) -> dict[str, Count]:
    """The counter of each labelled rule of a table, added up by label."""
    counts: dict[str, Count] = {}
    for answer in kernel.ask(table.read_rules()):
        fields = parsed(answer, _HEAD_BYTES)
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
