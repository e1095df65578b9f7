"""Proofs that packets fall where they should, and pass where they should: by counters and arrivals, never by time alone.

A cut's own counters tell exactly what became of its canaries, whatever else is sent meanwhile; where one arrives all the same,
there is a way round the cut.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from lxsandbox.hub.faults.canary import Canaries, Station, Unproven
from lxsandbox.hub.faults.cut import Cut
from lxsandbox.hub.members import Port
from lxsandbox.netlink.conversation import Conversation

__all__ = ["Probe", "between", "few_of", "lines_of", "prove_arrival", "prove_fall", "prove_loss"]

Counts = dict[tuple[str, tuple[str, ...]], int]

_FEW_LINKS = 256
_MOST_COUNTED = 2048  # to read the counter of each of 45,000 links takes half a second, in which nobody gets a name
_ROUND = 64  # the kernel's queue for a processor holds a thousand frames (net.core.netdev_max_backlog)
_SURE = 35  # of so many canaries expected to be lost, or to pass, none is seen once in 10^15 times


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A canary's way: from where to where, and by which element of which set of a cut it should fall."""

    start: Station
    end: Station
    of: str = ""
    key: tuple[str, ...] = ()


def few_of(links: Sequence[tuple[Port, Port]]) -> list[tuple[Port, Port]]:
    """All links; of very many, enough that each member is at both ends of one, if it is of any."""
    if len(links) <= _FEW_LINKS:
        return list(links)
    first = {start.name: (start, end) for start, end in links}
    last = {end.name: (start, end) for start, end in reversed(links)}
    return [*first.values(), *last.values()]


def between(canaries: Canaries, links: Iterable[tuple[Port, Port]]) -> list[Probe]:
    """Probes from member to member."""
    return [Probe(start=canaries.at(start), end=canaries.at(end), of="links", key=(start.name, end.name)) for start, end in links]


def lines_of(canaries: Canaries, cut: Cut, ports: Sequence[Port], other: Port | None) -> list[Probe]:
    """Probes for all that comes from, or goes to, `ports`: to and from the hub, and `other`, a member whose line is whole."""
    probes: list[Probe] = []
    for port in ports:
        here = canaries.at(port)
        partners = [canaries.at_bridge(port.network.bridge), *([canaries.at(other)] if other is not None else [])]
        for there in partners:
            if port.name in cut.senders:
                probes.append(Probe(start=here, end=there, of="senders", key=(port.name,)))
            if port.name in cut.receivers:
                probes.append(Probe(start=there, end=here, of="receivers", key=(port.name,)))
    return probes


def prove_fall(canaries: Canaries, kernel: Conversation, cut: Cut, probes: Sequence[Probe]) -> None:
    """Every probe falls, by its own element, and none arrives. Raises Unproven."""
    canaries.introduce()
    counted = len(cut.links) <= _MOST_COUNTED
    before = _counts(kernel, cut) if counted else {}
    for start in range(0, len(probes), _ROUND):
        sent = _send(canaries, probes[start : start + _ROUND])
        count = start + len(sent)
        canaries.wait_for(partial(_decided, kernel, cut, count, sent))
        dropped, passed = cut.read_canaries(kernel)
        if dropped < count or _arrived(sent):
            way = ", and some arrived: there is another way" if _arrived(sent) else ""
            raise Unproven(f"of {count} canaries {dropped} were dropped, and {passed} passed{way}")
    if counted:
        _check_each(before, _counts(kernel, cut), probes)


def _check_each(before: Counts, now: Counts, probes: Sequence[Probe]) -> None:
    for (of, key), count in Counter((probe.of, probe.key) for probe in probes).items():
        if now.get((of, key), 0) - before.get((of, key), 0) < count:
            raise Unproven(f"{len(probes)} canaries were dropped, but not those of {' and '.join(key)}")


def _decided(kernel: Conversation, cut: Cut, count: int, sent: Sequence[tuple[Station, bytes, bytes]]) -> bool:
    return cut.read_canaries(kernel)[0] >= count or _arrived(sent) > 0


def _send(canaries: Canaries, probes: Sequence[Probe]) -> list[tuple[Station, bytes, bytes]]:
    """One canary for each: where it should arrive, and what it can be told by."""
    return [(probe.end, probe.start.mac, canaries.send(probe.start, probe.end.mac)) for probe in probes]


def _arrived(sent: Sequence[tuple[Station, bytes, bytes]]) -> int:
    return sum((mac, mark) in end.arrived for end, mac, mark in sent)


def _counts(kernel: Conversation, cut: Cut) -> Counts:
    return {(of, key): count.packets for of, counts in cut.read(kernel).by_set().items() for key, count in counts.items()}


def prove_loss(
    canaries: Canaries, kernel: Conversation, cut: Cut, probes: Sequence[Probe], *, waits: Callable[[Station], bool]
) -> None:
    """By each element one has fallen, and one has passed (or, but for where a queue `waits`, arrived). Raises Unproven."""
    canaries.introduce()
    rounds = 1 + math.ceil(_SURE / min(cut.share, 1 - cut.share) / _ROUND)
    for probe in probes:
        before, passed = _count_at(kernel, cut, probe), cut.read_canaries(kernel)[1]
        fell = got = False
        for _ in range(rounds):
            probe.end.forget()
            for _ in range(_ROUND):
                canaries.send(probe.start, probe.end.mac)
            canaries.read()
            fell = fell or _count_at(kernel, cut, probe) > before
            got = got or (cut.read_canaries(kernel)[1] > passed and (waits(probe.end) or bool(probe.end.arrived)))
            if fell and got:
                break
        else:
            lost, came = ("some" if each else "none" for each in (fell, got))
            raise Unproven(f"of {rounds * _ROUND} canaries {lost} were lost, and {came} arrived")


def _count_at(kernel: Conversation, cut: Cut, probe: Probe) -> int:
    return _counts(kernel, cut).get((probe.of, probe.key), 0)


def prove_arrival(canaries: Canaries, probes: Sequence[Probe]) -> None:
    """Every probe arrives. Raises Unproven."""
    canaries.introduce()
    for start in range(0, len(probes), _ROUND):
        sent = _send(canaries, probes[start : start + _ROUND])
        if not canaries.wait_for(partial(_all_arrived, sent)):
            raise Unproven(f"{len(sent) - _arrived(sent)} of {len(sent)} canaries did not arrive where nothing should stop them")


def _all_arrived(sent: Sequence[tuple[Station, bytes, bytes]]) -> bool:
    return _arrived(sent) == len(sent)
