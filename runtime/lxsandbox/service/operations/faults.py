"""What a client asks about faults on the links of its networks: to be made, to be healed, what they have done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lxsandbox import wire
from lxsandbox.errors import SpecError
from lxsandbox.service.networks import Network
from lxsandbox.service.operations.operation import Answer, Operation

if TYPE_CHECKING:
    from lxsandbox.service.client import Client

__all__ = ["OPERATIONS"]


def _network(client: Client, message: wire.Message) -> Network:
    return client.run.networks.find(client, str(message["network"]))


def _members(network: Network) -> dict[str, str]:
    """The names of the members, by the ids of their sandboxes."""
    return {each.box.id: each.names[0] for each in network.members.values()}


def _check_members(network: Network, boxes: Iterable[str]) -> None:
    """Raises SpecError, naming the members there are."""
    members = _members(network)
    strangers = [box for box in boxes if box not in members]
    if strangers:
        known = ", ".join(sorted(members.values())) or "none"
        raise SpecError(
            f"not a member of network {network.name}: sandbox {', '.join(strangers)}", hint=f"its members are: {known}"
        )


async def _partition(client: Client, message: wire.Message) -> Answer:
    network = _network(client, message)
    _check_members(network, [*message["a"], *message["b"]])
    sides = {name: list(message[name]) for name in ("a", "b")}
    return await client.run.networks.hub.ask("partition", network=network.number, one_way=bool(message["one_way"]), **sides), []


async def _isolate(client: Client, message: wire.Message) -> Answer:
    network = _network(client, message)
    _check_members(network, message["a"])
    return await client.run.networks.hub.ask("isolate", network=network.number, a=list(message["a"])), []


async def _shape(client: Client, message: wire.Message) -> Answer:
    network = _network(client, message)
    _check_members(network, [message["a"], *([message["peer"]] if message["peer"] else [])])
    wanted = {name: message[name] for name in ("a", "peer", "directions", "values")}
    return await client.run.networks.hub.ask("shape", network=network.number, **wanted), []


async def _heal(client: Client, message: wire.Message) -> Answer:
    network = _network(client, message)
    return await client.run.networks.hub.ask_living("heal", network=network.number, fault=message["fault"]), []


async def _faults(client: Client, message: wire.Message) -> Answer:
    network = _network(client, message)
    answer = await client.run.networks.hub.ask_living("faults", network=network.number)
    faults: list[dict[str, Any]] = answer.get("faults", [])
    names = _members(network)
    for fault in faults:
        for link in fault["links"]:
            link |= {end: names.get(link[end], link[end]) for end in ("from", "to")}
    return {"faults": faults}, []


OPERATIONS: dict[str, Operation] = {
    "network_partition": _partition,
    "network_isolate": _isolate,
    "network_shape": _shape,
    "network_heal": _heal,
    "network_faults": _faults,
}
