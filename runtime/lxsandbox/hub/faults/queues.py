"""Queues at the two ends of a link: how fast, and when, what is sent over it comes out.

What a member sends waits at its own end, in its network namespace, which has a right over it that the member lacks (unless it was
given NET_ADMIN); what it gets waits at the hub's. tbf for a rate alone, which every kernel has; netem for all else, the rate too.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from lxsandbox.hub.faults.canary import Canaries, Station, Unproven
from lxsandbox.hub.members import Port, inside
from lxsandbox.hub.refusal import Refused
from lxsandbox.netlink import qdiscs
from lxsandbox.netlink.conversation import ROUTE, Conversation
from lxsandbox.netlink.qdiscs import Netem, QueueCount

T = TypeVar("T")

__all__ = ["Queue", "netem_of", "prove_queue", "refuse_missing_netem"]

_FRAME_BYTES = 65_550  # the longest: MTU and header. Through a bucket that is smaller it would never pass.
_BURST_SECONDS = 0.001
_LIMIT_SECONDS = 0.2  # what would wait longer than this is lost, as in a router
_LOOPBACK = 1
_GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL, errno.ENXIO)
_LONG_BYTES, _SHORT_BYTES = 60_000, 1_000
_ROUND, _MOST_ROUNDS = 64, 2000
_SHORT_SECONDS = 0.001


def netem_of(values: Mapping[str, Any]) -> Netem:
    """What is asked of a queue. Loss is not: nftables does that, on every kernel, and counts it for each link."""
    wanted = ("delay", "jitter", "duplicate", "corrupt", "reorder", "rate")
    return Netem(**{name: values[name] for name in wanted if values.get(name)})


def refuse_missing_netem(kernel: Conversation) -> None:
    """Raises Refused where the kernel has no netem; found out by doing it, on the hub's own loopback."""
    try:
        qdiscs.put(kernel, _LOOPBACK, "netem", Netem(delay=0.001).options(), handle=1 << 16)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        raise Refused(
            "HostUnsupported",
            "delay, jitter, duplicate, corrupt and reorder need netem, and this kernel has none",
            hint="run `modprobe sch_netem`, or boot a kernel built with CONFIG_NET_SCH_NETEM; loss and rate work without it",
            capability="netem",
        ) from None
    qdiscs.delete(kernel, _LOOPBACK)


class Queue:
    """One end of a link: `direction` is "out" for what the member sends, and "in" for what it gets."""

    def __init__(self, home: int, port: Port, direction: str, wanted: Netem) -> None:
        self.port = port
        self.direction = direction
        self.wanted = wanted
        self._home = home
        self._handle = 0

    @property
    def kind(self) -> str:
        """A rate alone is for tbf."""
        return "tbf" if replace(self.wanted, rate=None) == Netem() else "netem"

    def put(self, wanted: Netem | None = None) -> None:
        """Have it there, with nothing waiting in it; `wanted` instead of what is its own. Raises OSError."""
        options = (wanted or self.wanted).options() if self.kind == "netem" else _bucket(self.wanted.rate or 0)
        if self._handle and self.kind == "netem":
            # Newer kernels refuse a netem that duplicates as long as there is another one on the link.
            self.remove()
        self._handle += 1  # a qdisc of another handle takes the place of the old one, and what waited there is gone
        self._ask(lambda kernel, index: qdiscs.put(kernel, index, self.kind, options, handle=self._handle << 16))

    def moved_to(self, port: Port) -> Queue:
        """The same at the port of another sandbox."""
        return Queue(self._home, port, self.direction, self.wanted)

    def remove(self) -> None:
        """Gone is gone: with the interface, or by the sandbox itself, where that has NET_ADMIN."""
        try:
            self._ask(qdiscs.delete)
        except OSError as error:
            if error.errno not in _GONE:
                raise

    def read(self) -> QueueCount:
        try:
            return self._ask(qdiscs.read)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return qdiscs.NO_QUEUE

    def _ask(self, question: Callable[[Conversation, int], T]) -> T:
        kernel, index = self._open()
        with kernel:
            return question(kernel, index)

    def _open(self) -> tuple[Conversation, int]:
        if self.direction == "in":
            return Conversation(ROUTE), self.port.index
        return inside(self._home, self.port.member.netns, self._open_inside)

    def _open_inside(self) -> tuple[Conversation, int]:
        try:
            index = socket.if_nametoindex(self.port.interface)
        except OSError as error:  # it has no number
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from error
        return Conversation(ROUTE), index

    def ends(self, canaries: Canaries) -> tuple[Station, Station]:
        """Where canaries are to start and arrive so that they go through this queue."""
        bridge = canaries.at_bridge(self.port.network.bridge)
        if self.direction == "in":
            return bridge, canaries.at(self.port)
        return canaries.at(self.port, queued=True), bridge


def _bucket(rate: int) -> bytes:
    burst = max(_FRAME_BYTES, round(rate * _BURST_SECONDS))
    limit = min(1 << 31, burst + max(4 * _FRAME_BYTES, round(rate * _LIMIT_SECONDS)))
    return qdiscs.tbf_options(rate=rate, burst=burst, limit=limit)


def prove_queue(canaries: Canaries, queue: Queue) -> None:
    """It does to canaries what it should; then it is put there anew, without them. Raises Unproven."""
    wanted = queue.wanted
    if wanted.duplicate or wanted.corrupt or wanted.reorder:
        # With a delay that is short enough to wait for what arrives.
        queue.put(replace(wanted, delay=min(wanted.delay, _SHORT_SECONDS), jitter=0.0, rate=None))
        _prove_arrivals(canaries, queue)
    queue.put()
    if wanted.delay or wanted.jitter or wanted.rate is not None:
        _prove_waiting(canaries, queue)
        queue.put()


def _prove_waiting(canaries: Canaries, queue: Queue) -> None:
    start, end = queue.ends(canaries)
    for _ in range(_ROUND * _ROUND):
        canaries.send(start, end.mac, size=_LONG_BYTES)
        seen = queue.read()
        if seen.waiting or seen.overlimits:
            return
    raise Unproven(f"{_ROUND * _ROUND} canaries were sent through the queue, and none had to wait")


def _came(end: Station, marks: set[bytes]) -> bool:
    return marks <= set(end.order)


def _prove_arrivals(canaries: Canaries, queue: Queue) -> None:
    start, end = queue.ends(canaries)
    missing = {name for name in ("duplicate", "corrupt", "reorder") if getattr(queue.wanted, name)}
    for _ in range(_MOST_ROUNDS):
        marks = {canaries.send(start, end.mac, size=_SHORT_BYTES) for _ in range(_ROUND)}
        canaries.wait_for(partial(_came, end, marks), seconds=10 * _SHORT_SECONDS)
        found = {"duplicate": end.doubled, "corrupt": end.damaged, "reorder": end.order != sorted(end.order)}
        missing -= {name for name, seen in found.items() if seen}
        if not missing:
            return
        end.forget()
    raise Unproven(f"{_MOST_ROUNDS * _ROUND} canaries went through the queue, without a sign of: {', '.join(sorted(missing))}")
