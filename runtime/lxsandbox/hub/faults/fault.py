"""One fault: a cut and queues, put there together, proven, counted, and taken back.

It outlives the members that it is about: what concerns one goes when it leaves, and comes back with another in its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lxsandbox.hub.faults.canary import Canaries, Unproven
from lxsandbox.hub.faults.cut import Cut, Seen
from lxsandbox.hub.faults.proofs import Probe, between, few_of, lines_of, prove_arrival, prove_fall, prove_loss
from lxsandbox.hub.faults.queues import Queue, prove_queue
from lxsandbox.hub.members import Network, Port
from lxsandbox.netlink.conversation import Conversation
from lxsandbox.netlink.counts import Count

__all__ = ["Fault", "live_ports"]

_MOST_ROWS = 64


def live_ports(network: Network) -> dict[str, Port]:
    """The ports of a network by their names."""
    return {port.name: port for port in network.ports.values()}


@dataclass(kw_only=True)
class Fault:
    """`open_links` are those that the cut leaves alone, and whose canaries must arrive."""

    number: int
    kind: str
    network: Network
    cut: Cut | None = None
    queues: list[Queue] = field(default_factory=list[Queue])
    open_links: tuple[tuple[str, str], ...] = ()
    boxes: dict[str, str] = field(default_factory=dict[str, str])  # the sandbox that each port is, or was, of
    shapes: set[tuple[str, str | None, str]] = field(
        default_factory=set[tuple[str, str | None, str]]
    )  # sandbox, peer and direction
    _gone: dict[str, str] = field(default_factory=dict[str, str])  # sandbox -> the port that it had
    _parked: dict[str, list[Queue]] = field(default_factory=dict[str, list[Queue]])
    _before: Seen | None = None  # what the canaries have added to the counters

    def apply(self, kernel: Conversation) -> None:
        """Raises OSError, and then nothing of it is there."""
        if self.cut is not None:
            self.cut.apply(kernel)
        put: list[Queue] = []
        try:
            for queue in self.queues:
                queue.put()
                put.append(queue)
        except OSError:
            for queue in put:
                queue.remove()
            if self.cut is not None:
                self.cut.undo(kernel)
            raise

    def undo(self, kernel: Conversation) -> None:
        if self.cut is not None:
            self.cut.undo(kernel, missing_ok=True)
        for queue in self.queues:
            queue.remove()

    def prove(self, home: int, kernel: Conversation, slow: frozenset[str]) -> None:
        """Raises Unproven. `slow`: ports to whose members canaries may take long."""
        with Canaries(home, self.number) as canaries:
            if self.cut is not None:
                self._prove_cut(canaries, kernel, self.cut, slow)
            for queue in self.queues:
                prove_queue(canaries, queue)
        if self.cut is not None:
            self._before = self.cut.read(kernel)

    def _prove_cut(self, canaries: Canaries, kernel: Conversation, cut: Cut, slow: frozenset[str]) -> None:
        probes = self._probes(canaries, cut)
        if cut.share < 1:
            slow_stations = {id(canaries.at(port)) for name, port in live_ports(self.network).items() if name in slow}
            prove_loss(canaries, kernel, cut, probes, waits=lambda station: id(station) in slow_stations)
        else:
            prove_fall(canaries, kernel, cut, probes)
            prove_arrival(canaries, between(canaries, few_of(self._alive(self.open_links, slow))))

    def _probes(self, canaries: Canaries, cut: Cut) -> list[Probe]:
        concerned = {*cut.senders, *cut.receivers}
        alive = live_ports(self.network)
        other = next((port for name, port in alive.items() if name not in concerned), None)
        lines = [port for name, port in alive.items() if name in concerned]
        return between(canaries, few_of(self._alive(cut.links))) + lines_of(canaries, cut, lines, other)

    def _alive(self, links: Iterable[tuple[str, str]], slow: frozenset[str] = frozenset()) -> list[tuple[Port, Port]]:
        alive = live_ports(self.network)
        return [(alive[start], alive[end]) for start, end in links if start in alive and end in alive and end not in slow]

    def prove_undone(self, home: int, slow: frozenset[str]) -> None:
        """Canaries arrive where they fell. Raises Unproven."""
        for queue in self.queues:
            if queue.read().kind == queue.kind:
                raise Unproven(f"the {queue.kind} queue of {queue.port.name} is still there")
        if self.cut is not None:
            with Canaries(home, self.number) as canaries:
                ends = {id(canaries.at(port)) for name, port in live_ports(self.network).items() if name in slow}
                prove_arrival(canaries, [probe for probe in self._probes(canaries, self.cut) if id(probe.end) not in ends])

    def left(self, kernel: Conversation, port: Port) -> None:
        """`port` leaves its network: nothing of it stays, but what another one in its place would get."""
        if port.name not in self.boxes:
            return
        if self.cut is not None:
            self.cut.drop(kernel, self.cut.about(port.name, but=set(self._gone.values())))
        self._gone[port.member.box] = port.name
        self._parked[port.member.box] = [queue for queue in self.queues if queue.port is port]
        self.queues = [queue for queue in self.queues if queue.port is not port]

    def taken_over(self, kernel: Conversation, old: str, port: Port) -> bool:
        """`port` is of the sandbox that takes the place of `old`, and gets what that had; False if it had nothing."""
        name = self._gone.pop(old, None)
        if name is None:
            return False
        del self.boxes[name]
        self.boxes[port.name] = port.member.box
        self.open_links = tuple(
            (port.name if start == name else start, port.name if end == name else end) for start, end in self.open_links
        )
        if self.cut is not None:
            self.cut = self.cut.renamed(name, port.name)
            self.cut.add(kernel, self.cut.about(port.name, but=set(self._gone.values())))
        for queue in self._parked.pop(old, []):
            moved = queue.moved_to(port)
            moved.put()
            self.queues.append(moved)
        return True

    def counted(self, kernel: Conversation) -> list[dict[str, Any]]:
        """What it has done so far, by link; of very many, those where it has done something."""
        rows: list[dict[str, Any]] = []
        if self.cut is not None:
            seen = self.cut.read(kernel)
            found = [self._cut_row(key, of, count) for of, counts in seen.by_set().items() for key, count in counts.items()]
            many = len(found) > _MOST_ROWS
            rows += [row for row in found if row["dropped_packets"] or not many]
        return rows + [self._queue_row(queue) for queue in self.queues]

    def _cut_row(self, key: tuple[str, ...], of: str, count: Count) -> dict[str, Any]:
        canaries = self._before.by_set()[of].get(key, Count()) if self._before is not None else Count()
        packets, size = max(0, count.packets - canaries.packets), max(0, count.bytes - canaries.bytes)
        start, end = (key[0] if of != "receivers" else None), (key[-1] if of != "senders" else None)
        return {"from": self._box(start), "to": self._box(end), "dropped_packets": packets, "dropped_bytes": size}

    def _queue_row(self, queue: Queue) -> dict[str, Any]:
        seen, box = queue.read(), self._box(queue.port.name)
        ends = {"from": box, "to": None} if queue.direction == "out" else {"from": None, "to": box}
        counts = {"dropped_packets": seen.drops, "passed_packets": seen.packets, "passed_bytes": seen.bytes}
        return {**ends, "queue": seen.kind, **counts, "held_packets": seen.overlimits, "waiting_packets": seen.waiting}

    def _box(self, port: str | None) -> str | None:
        return self.boxes.get(port) if port is not None else None
