"""What a client waits for in a sandbox."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lxsandbox import wire
from lxsandbox.conditions import condition_from_json
from lxsandbox.service.operations.operation import Answer, Operation

if TYPE_CHECKING:
    from lxsandbox.service.client import Client

__all__ = ["OPERATIONS"]


async def _wait_until(client: Client, message: wire.Message) -> Answer:
    box = client.alive(message)
    condition = condition_from_json(message["condition"])
    waiting = asyncio.current_task()
    assert waiting is not None
    client.waits.add(waiting)
    try:
        await client.run.readiness.wait(box, condition, message.get("seconds"))
    finally:
        client.waits.discard(waiting)
    return {}, []


OPERATIONS: dict[str, Operation] = {"wait_until": _wait_until}
