"""A cut: packets that the hub drops, all of them or a share, as one table of nftables that comes and goes as a whole.

The table sees ARP, neighbour discovery, broadcast and multicast as any other packet, so that connections stall as with a pulled
cable. Each element of its sets counts what it has dropped. A canary (see `canary.py`) is subject to the table of its own fault
alone: so a proof says nothing about the other faults, and is not disturbed by them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lxsandbox.netlink import expressions as nft
from lxsandbox.netlink import nftables
from lxsandbox.netlink.conversation import Conversation, Request
from lxsandbox.netlink.counts import Count, read_rules, read_set
from lxsandbox.netlink.nftables import Table, commit, name_key

__all__ = ["CANARY", "Cut", "Seen", "canary_bytes"]

CANARY = 0x88B5  # IEEE 802: for experiments on a local network
_PAYLOAD = 14  # behind the two addresses and the type
_FALLEN = "fallen"
_DROPPED, _PASSED = "canaries dropped", "canaries passed"


def canary_bytes(fault: int) -> bytes:
    """How a canary says which fault it is of."""
    return struct.pack("!I", fault)


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a cut has dropped, by the ports of links (from, to), of senders and of receivers, and what became of its canaries."""

    links: dict[tuple[str, ...], Count]
    senders: dict[tuple[str, ...], Count]
    receivers: dict[tuple[str, ...], Count]
    canaries_dropped: int
    canaries_passed: int

    def by_set(self) -> dict[str, dict[tuple[str, ...], Count]]:
        return {"links": self.links, "senders": self.senders, "receivers": self.receivers}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """Which packets fall, by the names of the hub's ports.

    `links`: from one port to another; `senders` and `receivers`: all that comes from, or goes to, a port, the hub's own packets
    among them. `share` of one: how many of those.
    """

    fault: int
    links: tuple[tuple[str, str], ...] = ()
    senders: tuple[str, ...] = ()
    receivers: tuple[str, ...] = ()
    share: float = 1.0

    @property
    def table(self) -> Table:
        return Table(nftables.BRIDGE, f"fault-{self.fault}")

    def keys(self) -> dict[str, list[tuple[str, ...]]]:
        """The elements of each set, for sets that have any."""
        single = {"senders": self.senders, "receivers": self.receivers}
        wanted = {"links": list[tuple[str, ...]](self.links)} | {name: [(port,) for port in of] for name, of in single.items()}
        return {name: keys for name, keys in wanted.items() if keys}

    def plan(self) -> list[list[Request]]:
        """The batches that make it. Nothing is dropped before the last one, and everything from then on."""
        table = self.table
        sets = [table.make()]
        filled: list[list[Request]] = []
        for name, keys in self.keys().items():
            sets.append(table.counter_set(name, names=len(keys[0])))
            filled += [[message] for message in table.add_elements(name, [name_key(key) for key in keys])]
        return [sets, *filled, self._chains()]

    def _chains(self) -> list[Request]:
        table = self.table
        hooks = {"forward": nftables.FORWARD}
        if self.senders:
            hooks["input"] = nftables.INPUT
        if self.receivers:
            hooks["output"] = nftables.OUTPUT
        own = nft.ethertype(CANARY)
        foreign = own + nft.field(nft.LINK_HEADER, _PAYLOAD, 4) + nft.compare(canary_bytes(self.fault), equal=False)
        messages = [table.inner_chain(_FALLEN)]
        messages.append(table.rule(_FALLEN, own, nft.counter(), label=_DROPPED))
        messages.append(table.rule(_FALLEN, nft.drop()))
        for chain, hook in hooks.items():
            messages.append(table.base_chain(chain, hook))
            messages.append(table.rule(chain, foreign, nft.accept()))
            messages += [table.rule(chain, *matching, nft.go(_FALLEN)) for matching in self._matches(chain)]
            messages.append(table.rule(chain, own, nft.counter(), label=_PASSED))
        return messages

    def _matches(self, chain: str) -> Iterable[Sequence[bytes]]:
        """What falls in a chain. Drawn first and looked up then: so an element counts what was dropped, and not what was seen."""
        drawn = [nft.chance(self.share)] if self.share < 1 else []
        if self.links and chain == "forward":
            yield [*drawn, nft.ports(incoming=True, outgoing=True), nft.in_set("links")]
        if self.senders and chain != "output":
            yield [*drawn, nft.ports(incoming=True, outgoing=False), nft.in_set("senders")]
        if self.receivers and chain != "input":
            yield [*drawn, nft.ports(incoming=False, outgoing=True), nft.in_set("receivers")]

    def apply(self, kernel: Conversation) -> None:
        """Raises OSError, and then nothing of it is there."""
        try:
            for batch in self.plan():
                commit(kernel, batch)
        except OSError:
            self.undo(kernel, missing_ok=True)
            raise

    def about(self, port: str, *, but: Collection[str] = ()) -> dict[str, list[tuple[str, ...]]]:
        """The elements, by set, that a port is part of; `but` for those with one of these ports, too."""
        keys = self.keys().items()
        return {of: [key for key in of_set if port in key and not set(key) & set(but)] for of, of_set in keys}

    def renamed(self, old: str, new: str) -> Cut:
        """The same for a port in the place of another."""

        def swap(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(new if name == old else name for name in names)

        links = tuple((swap((start,))[0], swap((end,))[0]) for start, end in self.links)
        return replace(self, links=links, senders=swap(self.senders), receivers=swap(self.receivers))

    def add(self, kernel: Conversation, elements: Mapping[str, Sequence[tuple[str, ...]]]) -> None:
        """Raises OSError."""
        self._change(kernel, elements, self.table.add_elements)

    def drop(self, kernel: Conversation, elements: Mapping[str, Sequence[tuple[str, ...]]]) -> None:
        """Raises OSError."""
        self._change(kernel, elements, self.table.delete_elements)

    def _change(
        self,
        kernel: Conversation,
        elements: Mapping[str, Sequence[tuple[str, ...]]],
        message: Callable[[str, Sequence[bytes]], list[Request]],
    ) -> None:
        for of, keys in elements.items():
            for each in message(of, [name_key(key) for key in keys]):
                commit(kernel, [each])

    def undo(self, kernel: Conversation, *, missing_ok: bool = False) -> None:
        try:
            commit(kernel, [self.table.delete()])
        except FileNotFoundError:
            if not missing_ok:
                raise

    def read_canaries(self, kernel: Conversation) -> tuple[int, int]:
        """How many of its canaries were dropped, and how many passed."""
        labels = read_rules(kernel, self.table)
        return labels.get(_DROPPED, Count()).packets, labels.get(_PASSED, Count()).packets

    def read(self, kernel: Conversation) -> Seen:
        dropped, passed = self.read_canaries(kernel)
        counts: dict[str, dict[tuple[str, ...], Count]] = {}
        for name, keys in self.keys().items():
            found = read_set(kernel, self.table, name)
            counts[name] = {key: found[name_key(key)] for key in keys if name_key(key) in found}
        return Seen(
            links=counts.get("links", {}),
            senders=counts.get("senders", {}),
            receivers=counts.get("receivers", {}),
            canaries_dropped=dropped,
            canaries_passed=passed,
        )
