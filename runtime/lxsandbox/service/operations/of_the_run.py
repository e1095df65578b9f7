"""What a client says of itself, and asks about the run as a whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lxsandbox import wire
from lxsandbox.arguments import check_env
from lxsandbox.errors import Death
from lxsandbox.service import leaks
from lxsandbox.service.facts import shown_folders
from lxsandbox.service.operations.operation import Answer, Operation
from lxsandbox.service.shapes import limits_of
from lxsandbox.spec import SandboxSpec

if TYPE_CHECKING:
    from lxsandbox.service.client import Client

__all__ = ["OPERATIONS"]

_SETTLE_SECONDS = 5.0


async def _hello(client: Client, message: wire.Message) -> Answer:
    client.observer = bool(message.get("observer"))
    client.label = str(message.get("label", ""))
    client.visible = shown_folders(message.get("visible") or {})
    client.env = check_env(message.get("env") or {})
    client.pull = message.get("pull") or "missing"
    client.offline = bool(message.get("offline"))
    client.lock = str(message.get("lock") or "")
    run = client.run
    if not client.observer:
        run.factory.keep_blanks()
    missing = [f"{name}: {why}" for name, why in run.factory.tree.lacks.items()]
    if run.factory.mapping.lack:
        missing.append(f"ids: {run.factory.mapping.lack}")
    return {
        "run": run.name,
        "cgroups": run.factory.tree.kind,
        "mapping": run.factory.mapping.kind,
        "pid": os.getpid(),
        "missing": missing,
    }, []


async def _prewarm(client: Client, message: wire.Message) -> Answer:
    spec = SandboxSpec.from_json(message["spec"])
    limits, _ = limits_of(spec, message.get("required") or (), client.run.factory.tree.lacks)
    await client.run.prewarm(spec, limits, client, int(message["count"]))
    if message.get("wait"):
        await client.run.pool.filled()
    return {}, []


async def _list(client: Client, _: wire.Message) -> Answer:
    boxes = [box for box in client.run.factory.boxes.values() if box.owner is not None]
    owners = {box.id: getattr(box.owner, "label", "") for box in boxes}
    stock = [box for box in client.run.factory.boxes.values() if box.owner is None and not box.ending]
    return {
        "sandboxes": [{**box.describe(), "owner": owners[box.id], "ports": client.run.forwards.known(box)} for box in boxes],
        "stock": [{"id": box.id, "pid": box.pid, "state": box.state} for box in stock],
    }, []


async def _figures(client: Client, _: wire.Message) -> Answer:
    peaks = [client.peak_bytes, *(box.stats()["memory_peak_bytes"] or 0 for box in client.owned() if box.state != "exited")]
    figures = {
        "sandboxes": len(client.starts),
        "start_seconds": client.starts,
        "pool_hits": client.pool_hits,
        "memory_peak_bytes": max(peaks),
    }
    return figures, []


async def _settle(client: Client, _: wire.Message) -> Answer:
    await client.run.factory.settle(_SETTLE_SECONDS)
    return {"leaked": leaks.count(client.run.factory)}, []


async def _leave(client: Client, _: wire.Message) -> Answer:
    client.leaving = True
    for box in client.owned():
        box.end(Death(reason="closed"))
    last = await client.run.last_words(client)
    await client.run.factory.settle(_SETTLE_SECONDS)
    return {"leaked": leaks.count(client.run.factory), "last": last}, []


OPERATIONS: dict[str, Operation] = {
    "hello": _hello,
    "prewarm": _prewarm,
    "list": _list,
    "figures": _figures,
    "settle": _settle,
    "leave": _leave,
}
