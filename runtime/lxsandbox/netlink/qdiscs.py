"""Messages of traffic control (include/uapi/linux/pkt_sched.h): a qdisc at the root of a link, tbf or netem, and its counts."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lxsandbox.netlink.attributes import attribute, number, of_text, parsed
from lxsandbox.netlink.conversation import ACK, CREATE, ECHO, REPLACE, Conversation

__all__ = ["NO_QUEUE", "TICKS_PER_SECOND", "Netem", "QueueCount", "delete", "put", "read", "tbf_options"]

_NEW, _DELETE, _GET = 36, 37, 38  # RTM_*QDISC
_ROOT = 0xFFFFFFFF  # TC_H_ROOT
_WHOLE = 0xFFFFFFFF  # a probability of one
_ETHERNET = 1  # TC_LINKLAYER_ETHERNET: without it the kernel wants a table of rates
TICKS_PER_SECOND = 15_625_000  # PSCHED_SHIFT: a tick is 64 ns
_MAX_TICKS = 0xFFFFFFFF
_HEAD = struct.Struct("=4xiII4x")  # struct tcmsg: link, handle, parent
_NETEM_PACKETS = 100_000  # that may be on their way; tc's thousand loses some where a fast link is given a delay


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueCount:
    """What a qdisc has seen and holds: `overlimits` counts how often one had to wait for its turn."""

    kind: str
    handle: int
    bytes: int
    packets: int
    waiting: int
    drops: int
    overlimits: int


NO_QUEUE = QueueCount(kind="noqueue", handle=0, bytes=0, packets=0, waiting=0, drops=0, overlimits=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Netem:
    """What sch_netem does to packets: seconds, and shares of one. `rate` is in bytes a second, None for as fast as can be."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0
    rate: int | None = None

    def options(self) -> bytes:
        """struct tc_netem_qopt, and attributes for what it has no room for: the bytes that tc(8) sends, but for the limit."""
        gap = 1 if self.reorder else 0
        numbers = (_ticks(self.delay), _NETEM_PACKETS, _share(self.loss), gap, _share(self.duplicate), _ticks(self.jitter))
        more = b""
        if self.reorder:
            more += attribute(3, struct.pack("=II", _share(self.reorder), 0))
        if self.corrupt:
            more += attribute(4, struct.pack("=II", _share(self.corrupt), 0))
        if self.rate is not None:
            if self.rate >= 1 << 32:
                more += attribute(8, struct.pack("=Q", self.rate))
            more += attribute(6, struct.pack("=IiIi", min(self.rate, _WHOLE), 0, 0, 0))
        return struct.pack("=6I", *numbers) + more


def _ticks(seconds: float) -> int:
    return min(_MAX_TICKS, round(seconds * TICKS_PER_SECOND))


def _share(of_one: float) -> int:
    return round(of_one * _WHOLE)


def tbf_options(*, rate: int, burst: int, limit: int) -> bytes:
    """Let `rate` bytes a second pass, `burst` bytes at once, and hold up to `limit` bytes for later; what comes then is lost."""
    spec = struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, min(rate, _WHOLE))
    parameters = spec + bytes(12) + struct.pack("=III", limit, 0, 0)
    wide = attribute(4, struct.pack("=Q", rate)) if rate >= 1 << 32 else b""
    return attribute(1, parameters) + wide + number(6, burst)


def put(kernel: Conversation, index: int, kind: str, options: bytes, *, handle: int) -> None:
    """Make a qdisc of `kind` the root of link `index`; what another one there, of another handle, still holds is lost."""
    body = _head(index, handle) + of_text(1, kind) + attribute(2, options)
    kernel.ask((_NEW, CREATE | REPLACE | ACK, body))


def delete(kernel: Conversation, index: int) -> None:
    """Give link `index` back the qdisc that it had from the kernel."""
    kernel.ask((_DELETE, ACK, _head(index, 0)))


def read(kernel: Conversation, index: int) -> QueueCount:
    """The root qdisc of link `index`; one that the kernel gave it holds nothing back, and counts nothing here."""
    for answer in kernel.ask((_GET, ECHO | ACK, _head(index, 0))):
        handle = struct.unpack_from("=I", answer, 8)[0]
        fields = parsed(answer, _HEAD.size)
        seen = parsed(fields.get(7, b""))
        total, packets = struct.unpack_from("=QI", seen.get(1, bytes(12)))
        waiting, _, drops, _, overlimits = struct.unpack_from("=5I", seen.get(3, bytes(20)))
        kind = fields[1].rstrip(b"\0").decode()
        return QueueCount(
            kind=kind, handle=handle, bytes=total, packets=packets, waiting=waiting, drops=drops, overlimits=overlimits
        )
    return NO_QUEUE


def _head(index: int, handle: int) -> bytes:
    return _HEAD.pack(index, handle, _ROOT)
