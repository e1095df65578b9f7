"""What a client asks about its networks: to be made, who is in one, to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxsandbox import wire
from lxsandbox.errors import SandboxError
from lxsandbox.membership import check_network_name
from lxsandbox.service.operations.operation import Answer, Operation

if TYPE_CHECKING:
    from lxsandbox.service.client import Client

__all__ = ["OPERATIONS"]


async def _open(client: Client, message: wire.Message) -> Answer:
    name = message.get("name")
    network = await client.run.networks.open(client, None if name is None else check_network_name(name))
    if client.socket.closed:
        await client.run.networks.close(network)
    return {"network": network.name, "subnets": network.subnet.as_text()}, []


async def _members(client: Client, message: wire.Message) -> Answer:
    network = client.run.networks.find(client, str(message["network"]))
    return {"members": {each.names[0]: each.box.addresses.get(network.name) for each in network.members.values()}}, []


async def _close(client: Client, message: wire.Message) -> Answer:
    try:
        network = client.run.networks.known(client, str(message["network"]))
    except SandboxError:
        return {}, []  # it has gone already
    await client.run.networks.close(network)
    return {}, []


OPERATIONS: dict[str, Operation] = {"network_open": _open, "network_members": _members, "network_close": _close}
