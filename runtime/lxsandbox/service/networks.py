"""Networks between sandboxes: who is in which, by what names and addresses. What the kernel has of it is the hub's.

A membership is of a line: what takes a sandbox's place by a reset has its addresses and names.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from lxsandbox.errors import SandboxError, SpecError
from lxsandbox.membership import GENERATED
from lxsandbox.service.addresses import HOSTS, NETWORKS, Free, Subnet
from lxsandbox.service.box import Box
from lxsandbox.service.hub_link import HubDied, HubLink
from lxsandbox.service.spawner_link import SpawnerLink
from lxsandbox.spec import SandboxSpec

__all__ = ["Membership", "Network", "Networks"]

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Network:
    """One network. `lost`: its hub has died. `implicit`: it was made by the first sandbox that named it."""

    number: int
    name: str
    owner: object
    implicit: bool
    hosts: Free = field(default_factory=lambda: Free(HOSTS))
    members: dict[str, Membership] = field(default_factory=dict[str, "Membership"])  # by line
    made: asyncio.Task[None] | None = None
    lost: bool = False
    closed: bool = False

    @property
    def subnet(self) -> Subnet:
        return Subnet(self.number)

    def check(self) -> None:
        """Raises SandboxError where there is nothing behind it any more."""
        if self.lost:
            raise SandboxError(
                f"network {self.name} is lost: the process that held it was killed, or crashed", hint="make another one"
            )
        if self.closed:
            raise SandboxError(f"network {self.name} has been closed", hint="make another one")


@dataclass(eq=False, slots=True)
class Membership:
    """A sandbox in networks: `names` are all lower case, its own first; `hosts` is its place in each, in the order of `eth0`…"""

    box: Box
    names: tuple[str, ...]
    hosts: dict[Network, int] = field(default_factory=dict[Network, int])

    def addresses(self, network: Network) -> tuple[str, str]:
        host = self.hosts[network]
        return network.subnet.ipv4(host), network.subnet.ipv6(host)


class Networks:
    """All networks of the run, each of one client, by name."""

    def __init__(self, spawner: SpawnerLink) -> None:
        self.hub = HubLink(spawner, self._lost)
        self._networks: dict[tuple[object, str], Network] = {}
        self._numbers = Free(range(NETWORKS))
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, owner: object, name: str | None) -> Network:
        """A new network; its name is made up where it is to have none. Raises SandboxError, also for a name that is taken."""
        known = None if name is None else self._networks.get((owner, name))
        if known is not None:
            raise SandboxError(f"there is a network {name} already", hint="give it another name, or close that one")
        network = self._new(owner, name or f"{GENERATED}{secrets.token_hex(4)}", implicit=False)
        await self._made(network)
        return network

    def known(self, owner: object, name: str) -> Network:
        """The client's network of this name, lost or not. Raises SandboxError where there is none."""
        network = self._networks.get((owner, name))
        if network is None:
            raise SandboxError(f"there is no network {name}", hint="it has been closed, or is of another client")
        return network

    def find(self, owner: object, name: str) -> Network:
        """The same, and it is not lost. Raises SandboxError."""
        network = self.known(owner, name)
        network.check()
        return network

    def _new(self, owner: object, name: str, *, implicit: bool) -> Network:
        number = self._numbers.take()
        if number is None:
            raise SandboxError(f"this run has {NETWORKS} networks, and can have no more", hint="close those that are of no use")
        network = self._networks[owner, name] = Network(number, name, owner, implicit)
        network.made = asyncio.get_running_loop().create_task(self._make(network))
        return network

    async def _make(self, network: Network) -> None:
        try:
            await self.hub.ask("make_network", number=network.number, name=network.name, **dict[str, Any](network.subnet.hub))
        except BaseException:
            self._forget(network)
            raise

    async def _made(self, network: Network) -> None:
        assert network.made is not None
        try:
            await asyncio.shield(network.made)
        except OSError as error:
            raise SandboxError(f"network {network.name} cannot be made: {error.strerror}", hint=_DOCTOR) from error
        network.check()

    def _forget(self, network: Network) -> None:
        network.closed = True
        if self._networks.get((network.owner, network.name)) is network:
            del self._networks[network.owner, network.name]
        self._numbers.give_back(network.number)

    async def close(self, network: Network) -> None:
        """End a network: its members go on without it."""
        if network.closed:
            return
        network.closed = True
        self._networks.pop((network.owner, network.name), None)
        for membership in network.members.values():
            membership.box.addresses.pop(network.name, None)
            membership.hosts.pop(network, None)
        network.members.clear()
        if not network.lost:
            try:
                await self.hub.ask_living("remove_network", number=network.number)
            except HubDied:
                pass  # and the network with it
        self._numbers.give_back(network.number)

    def owner_gone(self, owner: object) -> None:
        """A client's networks go with it."""
        for network in [each for each in self._networks.values() if each.owner is owner]:
            self._begin(self.close(network))

    async def join(self, box: Box, spec: SandboxSpec, owner: object) -> None:
        """Plug a sandbox into the networks of its spec. Raises SandboxError; then it is a member of none."""
        if not spec.networks:
            return
        networks = [self._wanted(owner, name) for name in spec.networks]
        for network in networks:
            await self._made(network)
        membership = self._admit(box, _names(box, spec), networks)
        await self._plug(membership, box)

    def _wanted(self, owner: object, name: str) -> Network:
        """The network that a spec names; one that was never made for itself is made by its first member."""
        network = self._networks.get((owner, name))
        if network is not None and network.lost and network.implicit and not network.members:
            self._forget(network)
            network = None
        if network is None and not name.startswith(GENERATED):
            return self._new(owner, name, implicit=True)
        return self.find(owner, name) if network is None else network

    def _admit(self, box: Box, names: tuple[str, ...], networks: Iterable[Network]) -> Membership:
        membership = Membership(box, names)
        try:
            for network in networks:
                _check_name(network, names[0])
                host = network.hosts.take()
                if host is None:
                    raise SandboxError(f"network {network.name} is full: it has {len(HOSTS)} members", hint="use another one")
                membership.hosts[network] = host
                network.members[box.line] = membership
        except BaseException:
            self._release(membership)
            raise
        return membership

    async def _plug(self, membership: Membership, box: Box) -> None:
        try:
            answer = await self._ask_join(membership, box)
        except OSError as error:
            self._release(membership)
            raise SandboxError(f"sandbox {box.name} cannot join its networks: {error.strerror}", hint=_DOCTOR) from error
        except BaseException:
            self._release(membership)
            raise
        ipv6 = {port["network"]: port["ipv6"] for port in answer["ports"]}
        for network in membership.hosts:
            box.addresses[network.name] = (membership.addresses(network)[0], ipv6[network.number])
        box.ended.add_done_callback(lambda _: self._ended(membership, box))

    async def _ask_join(self, membership: Membership, box: Box) -> dict[str, Any]:
        ports = [
            {
                "network": network.number,
                "interface": f"eth{place}",
                "mac": network.subnet.mac(host),
                "ipv4": network.subnet.ipv4(host),
                "ipv6": network.subnet.ipv6(host),
            }
            for place, (network, host) in enumerate(membership.hosts.items())
        ]
        netns = os.open(f"/proc/{box.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return await self.hub.ask("join", [netns], box=box.id, names=membership.names, ports=ports)
        finally:
            os.close(netns)

    async def pass_on(self, old: Box, box: Box) -> None:
        """What `old`, which has ended, was in networks, `box` of the same line is from now on. Raises SandboxError."""
        membership = next((each for network in self._networks.values() for each in [network.members.get(old.line)] if each), None)
        if membership is None:
            return
        membership.box = box
        try:
            for network in membership.hosts:
                network.check()
            await self.hub.ask_living("leave", box=old.id)
        except BaseException:
            self._release(membership)
            raise
        await self._plug(membership, box)
        await self.hub.ask_living("taken_over", old=old.id, new=box.id)  # faults of the line go on

    def _ended(self, membership: Membership, box: Box) -> None:
        """A member has gone: its names are free at once, its addresses when its links are off their bridges."""
        if membership.box is not box or box.ended.result().reason == "reset":
            return
        for network in membership.hosts:
            network.members.pop(box.line, None)
        self._begin(self._leave(membership, box))

    async def _leave(self, membership: Membership, box: Box) -> None:
        try:
            await self.hub.ask_living("leave", box=box.id)
        except (HubDied, OSError) as error:
            _log.warning("%s could not leave its networks: %s", box.id, error)
        self._release(membership)

    def _release(self, membership: Membership) -> None:
        for network, host in membership.hosts.items():
            if network.members.get(membership.box.line) is membership:
                del network.members[membership.box.line]
            network.hosts.give_back(host)
        membership.hosts.clear()

    def _lost(self) -> None:
        for network in self._networks.values():
            network.lost = True

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End the hub, and with it whatever there is."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_SECONDS)
        await self.hub.stop(_STOP_SECONDS)


_DOCTOR = "`lxsandbox doctor` tells what this host lacks"
_STOP_SECONDS = 5.0


def _names(box: Box, spec: SandboxSpec) -> tuple[str, ...]:
    name = spec.name or box.id
    return tuple(dict.fromkeys(each.lower() for each in (name, spec.hostname or name, *spec.aliases)))


def _check_name(network: Network, name: str) -> None:
    for membership in network.members.values():
        if membership.names[0] == name:
            raise SpecError(
                f"network {network.name} has a member with the name {name} already: sandbox {membership.box.id}",
                hint="give one of them another name=; a name for both of them is one of aliases=",
            )
