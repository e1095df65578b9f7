"""What a client asks about reaching a sandbox: the address of something in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxsandbox import wire
from lxsandbox.ports import parse_target
from lxsandbox.service.operations.operation import Answer, Operation

if TYPE_CHECKING:
    from lxsandbox.service.client import Client

__all__ = ["OPERATIONS"]


async def _address(client: Client, message: wire.Message) -> Answer:
    port = await client.run.forwards.address(client.alive(message), parse_target(message["target"]))
    return {"host": "127.0.0.1", "port": port}, []


OPERATIONS: dict[str, Operation] = {"address": _address}
