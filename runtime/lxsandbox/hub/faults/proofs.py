"""Proofs that packets fall where they should, and pass where they should: by counters and arrivals, never by time alone.

A cut's own counters tell exactly what became of its canaries, whatever else is sent meanwhile; where one arrives all the same,
there is a way round the cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from lxsandbox.hub.faults.canary import Canaries, Station, Unproven
from lxsandbox.hub.faults.cut import Cut
from lxsandbox.hub.members import Port
from lxsandbox.netlink.conversation import Conversation

__all__ = ["Probe", "between", "few_of", "lines_of", "prove_arrival", "prove_fall", "prove_loss"]

_FEW_LINKS = 256
_ROUND = 64  # the kernel's queue for a processor holds a thousand frames (net.core.netdev_max_backlog)
_MOST_ROUNDS = 4000  # a loss of one in ten thousand then goes unseen once in 10^11 times


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
    before = _counts(kernel, cut)
    wanted: dict[tuple[str, tuple[str, ...]], int] = {}
    marks: list[tuple[Station, bytes, bytes]] = []
    for number, probe in enumerate(probes, start=1):
        marks.append((probe.end, probe.start.mac, canaries.send(probe.start, probe.end.mac)))
        wanted[probe.of, probe.key] = wanted.get((probe.of, probe.key), 0) + 1
        if number % _ROUND == 0 or number == len(probes):
            canaries.wait_for(_fallen(kernel, cut, number))

    def dropped() -> bool:
        now = _counts(kernel, cut)
        return all(now.get(key, 0) - before.get(key, 0) >= count for key, count in wanted.items())

    if not (canaries.wait_for(_fallen(kernel, cut, len(probes))) and canaries.wait_for(dropped)):
        seen = cut.read(kernel)
        raise Unproven(f"{seen.canaries_dropped} of {len(probes)} canaries were dropped, and {seen.canaries_passed} passed")
    canaries.read()
    arrived = sum((mac, mark) in end.arrived for end, mac, mark in marks)
    if arrived:
        raise Unproven(f"{arrived} of {len(probes)} canaries arrived all the same: there is another way")


def _fallen(kernel: Conversation, cut: Cut, count: int) -> Callable[[], bool]:
    return lambda: cut.read_canaries(kernel)[0] >= count


def _counts(kernel: Conversation, cut: Cut) -> dict[tuple[str, tuple[str, ...]], int]:
    return {(of, key): count.packets for of, counts in cut.read(kernel).by_set().items() for key, count in counts.items()}


def prove_loss(
    canaries: Canaries, kernel: Conversation, cut: Cut, probes: Sequence[Probe], *, waits: Callable[[Station], bool]
) -> None:
    """By each element one has fallen, and one has passed (or, but for where a queue `waits`, arrived). Raises Unproven."""
    canaries.introduce()
    for probe in probes:
        before, passed = _count_at(kernel, cut, probe), cut.read_canaries(kernel)[1]
        fell = got = False
        for _ in range(_MOST_ROUNDS):
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
            raise Unproven(f"of {_MOST_ROUNDS * _ROUND} canaries {lost} were lost, and {came} arrived")


def _count_at(kernel: Conversation, cut: Cut, probe: Probe) -> int:
    return _counts(kernel, cut).get((probe.of, probe.key), 0)


def _all_arrived(sent: Sequence[tuple[Station, bytes, bytes]]) -> bool:
    return all((mac, mark) in end.arrived for end, mac, mark in sent)


def prove_arrival(canaries: Canaries, probes: Sequence[Probe]) -> None:
    """Every probe arrives. Raises Unproven."""
    canaries.introduce()
    for start in range(0, len(probes), _ROUND):
        few = probes[start : start + _ROUND]
        sent = [(probe.end, probe.start.mac, canaries.send(probe.start, probe.end.mac)) for probe in few]
        if not canaries.wait_for(partial(_all_arrived, sent)):
            missing = sum((mac, mark) not in end.arrived for end, mac, mark in sent)
            raise Unproven(f"{missing} of {len(sent)} canaries did not arrive where nothing should stop them")
