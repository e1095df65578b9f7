"""What a client asks about images: what one is, to keep one of a sandbox, to build one, to remove what nobody needs."""

from __future__ import annotations

import asyncio
import os
from contextlib import closing, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lxsandbox import wire
from lxsandbox.errors import SandboxError
from lxsandbox.image import Image
from lxsandbox.service.failures import error_as_json
from lxsandbox.service.operations.operation import Answer, Operation
from lxsandbox.service.telling import Telling

if TYPE_CHECKING:
    from lxsandbox.images.transports import Pull
    from lxsandbox.service.client import Client

__all__ = ["OPERATIONS"]


async def _image(client: Client, message: wire.Message) -> Answer:
    text = str(message["image"])
    found = await client.run.images.find(text, pull=client.pull, offline=client.offline, lock=client.lock)
    held = found.held
    described = Image(reference=text) if held is None else held.config.described(text, held.descriptor.digest)
    return asdict(described), []


async def _snapshot(client: Client, message: wire.Message) -> Answer:
    name = message.get("name")
    image = await client.run.snapshots.take(client.alive(message), None if name is None else str(name))
    return asdict(image), []


async def _image_prune(client: Client, message: wire.Message) -> Answer:
    pruned = await client.run.images.prune(every=bool(message.get("all")), at_most_bytes=message.get("at_most_bytes"))
    return asdict(pruned), []


async def _image_build(client: Client, message: wire.Message) -> Answer:
    """The pipe through which is told how it goes on, and how it ends: see `telling`."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    client.begin(_build(client, message, Telling(writer)))
    return {}, [reader]


async def _build(client: Client, message: wire.Message, telling: Telling) -> None:
    fresh = bool(message.get("fresh"))
    pull: Pull = message.get("pull") or "missing"
    with closing(telling):
        try:
            digest = await client.run.images.build(message["reference"], message["name"], telling, fresh=fresh, pull=pull)
            last: dict[str, Any] = {"done": digest}
        except (SandboxError, OSError) as error:
            last = {"error": error_as_json(error)}
        with suppress(SandboxError):
            await asyncio.to_thread(telling.tell, **last)


OPERATIONS: dict[str, Operation] = {
    "image": _image,
    "snapshot": _snapshot,
    "image_prune": _image_prune,
    "image_build": _image_build,
}
