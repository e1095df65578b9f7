"""Faults that users put on the links of a network, and take back: `Network.partition()` and the like, and what they return."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from lxsandbox.errors import SandboxError, SpecError
from lxsandbox.sandbox.shaping import checked_directions, checked_shape

if TYPE_CHECKING:
    from lxsandbox.sandbox.sandbox import Sandbox

__all__ = ["Fault", "FaultInjection", "LinkCount"]

_MOST_NAMES = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkCount:
    """What a fault has done on one link, in one direction: `start` and `end` are names of members, None for any other.

    `held_packets`: those that had to wait for their turn, where there is a queue.
    """

    start: str | None
    end: str | None
    dropped_packets: int
    dropped_bytes: int = 0
    held_packets: int = 0


class Fault:
    """A fault that is there until it is healed, at the latest when its network is closed; a context manager that heals it."""

    def __init__(self, network: FaultInjection, number: int, text: str) -> None:
        self._network = network
        self.number = number
        self._text = text
        self._healed = False

    def heal(self) -> None:
        """Take it back. May be called twice, and after all of the network was healed.

        Raises SandboxError where packets do not arrive all the same.
        """
        if not self._healed:
            self._healed = True
            self._network.heal(self)

    @property
    def links(self) -> list[LinkCount]:
        """What it has done so far; empty once it is healed."""
        for fault in self._network.fault_counts():
            if fault["fault"] == self.number:
                return [_count(link) for link in fault["links"]]
        return []

    @property
    def dropped_packets(self) -> int:
        """How many packets it has dropped so far, the hub's own canaries not among them."""
        return sum(link.dropped_packets for link in self.links)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.heal()
        else:
            with suppress(SandboxError):  # what went wrong first is what is to be seen
                self.heal()

    def __repr__(self) -> str:
        return f"<Fault {self._text}{', healed' if self._healed else ''}>"


class FaultInjection:
    """The faults of a network: each is proven to do what it should before the call returns, and goes with the network.

    They see every packet between members, ARP, broadcast and multicast among them, so that connections stall as with a pulled
    cable; the forwarded ports of `address()` and names go on. Members that join later, or take a member's place by `reset()`,
    are met by them too.
    """

    name: str
    _closed: bool

    def _request(self, op: str, **fields: Any) -> dict[str, Any]:
        raise NotImplementedError

    def partition(self, a: Sandbox | Sequence[Sandbox], b: Sandbox | Sequence[Sandbox], *, one_way: bool = False) -> Fault:
        """Nothing goes from `a` to `b`, each a sandbox or several, nor back unless `one_way`.

        Raises SpecError for one that is no member or on both sides, HostUnsupported where the kernel lacks nftables, and
        SandboxError where the cut does not do what it should: then it is not there.
        """
        sides = _members("a", a), _members("b", b)
        both = {each.id for each in sides[0]} & {each.id for each in sides[1]}
        if both:
            raise SpecError(f"on both sides of a partition: sandbox {', '.join(sorted(both))}", hint="name it on one of them")
        text = f"of {self.name}: {_names(sides[0])} {'to' if one_way else 'and'} {_names(sides[1])} cut"
        return self._made("network_partition", text, a=_ids(sides[0]), b=_ids(sides[1]), one_way=one_way)

    def isolate(self, a: Sandbox | Sequence[Sandbox]) -> Fault:
        """Nothing goes from or to `a`, whoever else is, or will be, in the network. Raises as `partition`."""
        alone = _members("a", a)
        return self._made("network_isolate", f"of {self.name}: {_names(alone)} isolated", a=_ids(alone))

    def shape(
        self,
        a: Sandbox,
        *,
        delay: float | str | None = None,
        jitter: float | str | None = None,
        loss: float | str | None = None,
        rate: int | str | None = None,
        duplicate: float | str | None = None,
        corrupt: float | str | None = None,
        reorder: float | str | None = None,
        peer: Sandbox | None = None,
        direction: str = "both",
    ) -> Fault:
        """Make the line of `a` a bad one: what it sends (`direction="out"`), gets (`"in"`), or both, each by itself.

        `delay`, and how much it varies, `jitter`: seconds, or text like `"100ms"`. `loss`, `duplicate`, `corrupt` (one bit),
        `reorder` (these are not delayed): a share of packets, a fraction of one or `"5%"`. `rate`: bytes a second, or text:
        `"1M"` is a mebibyte a second, and `"10mbit"` ten million bits. `peer`: the loss is of the link to this one alone.

        Loss and rate work on every kernel with nftables and tbf; for the others HostUnsupported is raised where it has no netem,
        and nothing is done. Raises SpecError for values that make no sense, and for a line that is shaped already.
        """
        (port,) = _members("a", a, one=True)
        given = {"delay": delay, "jitter": jitter, "loss": loss, "rate": rate}
        given |= {"duplicate": duplicate, "corrupt": corrupt, "reorder": reorder}
        values = checked_shape(given, one_link=peer is not None)
        directions = checked_directions(direction)
        other = None if peer is None else _members("peer", peer, one=True)[0]
        if other is not None and other.id == port.id:
            raise SpecError(f"peer= is sandbox {port.name} itself", hint="name the other end of the link")
        told = ", ".join(f"{name} {value}" for name, value in given.items() if value is not None)
        text = f"of {self.name}: {port.name}{'' if other is None else f' with {other.name}'} {direction}: {told}"
        peer_id = None if other is None else other.id
        return self._made("network_shape", text, a=port.id, peer=peer_id, directions=directions, values=values)

    def heal(self, fault: Fault | None = None) -> None:
        """Take back one fault, or all of this network. Raises SandboxError where packets do not arrive all the same."""
        if self._closed:
            return  # they went with it
        self._request("network_heal", fault=None if fault is None else fault.number)

    def fault_counts(self) -> list[dict[str, Any]]:
        """The faults there are, with what each has done, by link."""
        counts: list[dict[str, Any]] = [] if self._closed else self._request("network_faults")["faults"]
        return counts

    def _made(self, op: str, text: str, **fields: Any) -> Fault:
        return Fault(self, self._request(op, **fields)["fault"], text)


def _count(link: dict[str, Any]) -> LinkCount:
    counts = {name: link.get(name, 0) for name in ("dropped_packets", "dropped_bytes", "held_packets")}
    return LinkCount(start=link["from"], end=link["to"], **counts)


def _members(what: str, given: Any, *, one: bool = False) -> list[Sandbox]:
    """The sandboxes of an argument. Raises SpecError."""
    from lxsandbox.sandbox.sandbox import Sandbox  # which imports the network

    each_given = [given] if one or not isinstance(given, list | tuple) else list(cast("Sequence[Any]", given))
    found = {each.id: each for each in each_given if isinstance(each, Sandbox)}
    if not found or not all(isinstance(each, Sandbox) for each in each_given):
        expected = "a sandbox" if one else "a sandbox or a list of some"
        raise SpecError(f"{what}={given!r} is not {expected}", hint="give Sandbox objects that are members of the network")
    return list(found.values())


def _ids(sandboxes: Sequence[Sandbox]) -> list[str]:
    return [each.id for each in sandboxes]


def _names(sandboxes: Sequence[Sandbox]) -> str:
    shown = ", ".join(each.name for each in sandboxes[:_MOST_NAMES])
    return shown if len(sandboxes) <= _MOST_NAMES else f"{shown} and {len(sandboxes) - _MOST_NAMES} more"
