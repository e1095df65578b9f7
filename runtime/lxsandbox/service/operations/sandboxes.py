"""What a client asks about one sandbox: to be made, to be looked at, to be changed, to end."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from lxsandbox import wire
from lxsandbox.errors import Death, HostUnsupported
from lxsandbox.service.operations.operation import Answer, Operation
from lxsandbox.service.shapes import limits_of
from lxsandbox.spec import SandboxSpec, field_names

if TYPE_CHECKING:
    from lxsandbox.service.box import Box
    from lxsandbox.service.client import Client

__all__ = ["OPERATIONS"]

_SETTLE_SECONDS = 5.0


async def _create(client: Client, message: wire.Message) -> Answer:
    started = time.perf_counter()
    spec = SandboxSpec.from_json(message["spec"])
    limits, unheld = limits_of(spec, message.get("required") or (), client.run.factory.tree.lacks)
    box, channel, pooled = await client.run.create(spec, limits, client)
    seconds = time.perf_counter() - started
    if client.socket.closed:
        channel.close()
        box.end(Death(reason="closed"))
        return {}, []
    client.starts.append(seconds)
    client.pool_hits += pooled
    return _introduce(box) | {"pooled": pooled, "start_seconds": seconds, "unheld": unheld}, [channel.detach()]


async def _reset(client: Client, message: wire.Message) -> Answer:
    started = time.perf_counter()
    old = client.alive(message)
    box, channel, pooled = await client.run.reset(old)
    client.peak_bytes = max(client.peak_bytes, old.peak_bytes or 0)
    return _introduce(box) | {"pooled": pooled, "start_seconds": time.perf_counter() - started}, [channel.detach()]


async def _attach(client: Client, message: wire.Message) -> Answer:
    box = client.box(message)
    ours, theirs = wire.pair()
    with theirs:
        try:
            await box.ask("channel", (theirs.fileno(),))
        except BaseException:
            ours.close()
            raise
    return _introduce(box) | {"spec": box.spec.as_json(), "state": box.state}, [ours.detach()]


async def _close(client: Client, message: wire.Message) -> Answer:
    box = client.box(message)
    death = await _end(client, box, Death(reason="closed"))
    return {"stats": box.stats(), "death": death.as_json()}, []


async def _kill(client: Client, message: wire.Message) -> Answer:
    death = await _end(client, client.box(message), Death(reason="killed"))
    return {"death": death.as_json()}, []


async def _death(client: Client, message: wire.Message) -> Answer:
    box = client.box(message)
    return {"death": (await box.wait_ended(_SETTLE_SECONDS)).as_json()}, []


async def _stats(client: Client, message: wire.Message) -> Answer:
    return {"stats": client.box(message).stats()}, []


async def _update(client: Client, message: wire.Message) -> Answer:
    box = client.alive(message)
    changed = SandboxSpec.from_fields({name: getattr(box.spec, name) for name in field_names()} | message["limits"])
    limits, _ = limits_of(changed, list(message["limits"]), client.run.factory.tree.lacks)
    box.cgroup.update(limits)
    box.spec, box.limits = changed, limits
    return {}, []


async def _pause(client: Client, message: wire.Message) -> Answer:
    box = client.alive(message)
    _need_freezer(client, "pause")
    async with box.moving:
        if box.state == "running":
            await box.hold_uppers()  # for a diff of it while it is paused
            await box.freeze()
            if not box.ended.done():
                box.state = "paused"
    return {}, []


async def _resume(client: Client, message: wire.Message) -> Answer:
    box = client.alive(message)
    _need_freezer(client, "resume")
    async with box.moving:
        if box.state == "paused":
            box.thaw()
            box.state = "running"
    return {}, []


async def _diff(client: Client, message: wire.Message) -> Answer:
    box = client.alive(message)
    sink = os.memfd_create("lxsandbox-changes")
    try:
        await client.run.factory.list_changes(box, sink)
    except BaseException:
        os.close(sink)
        raise
    return {}, [sink]


async def _end(client: Client, box: Box, death: Death) -> Death:
    box.end(death)
    box.count_last()
    ended = await box.wait_ended(_SETTLE_SECONDS)
    await client.run.forwards.settled(box)
    client.peak_bytes = max(client.peak_bytes, box.peak_bytes or 0)
    return ended


def _need_freezer(client: Client, verb: str) -> None:
    why = client.run.factory.tree.lacks.get("freezer")
    if why is not None:
        raise HostUnsupported(f"{verb}() cannot be done: {why}", capability="cgroup-freezer")


OPERATIONS: dict[str, Operation] = {
    "create": _create,
    "reset": _reset,
    "attach": _attach,
    "close": _close,
    "kill": _kill,
    "death": _death,
    "stats": _stats,
    "update": _update,
    "pause": _pause,
    "resume": _resume,
    "diff": _diff,
}


def _introduce(box: Box) -> dict[str, Any]:
    hostname = box.spec.hostname or box.name
    return {"sandbox": box.id, "name": box.name, "hostname": hostname, "pid": box.pid, "stop_signal": box.stop_signal} | {
        "addresses": box.addresses
    }
