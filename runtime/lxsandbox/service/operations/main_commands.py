"""What a client asks about the main command of a sandbox: what it prints, whether it has ended, to start it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxsandbox import wire
from lxsandbox.errors import SandboxError
from lxsandbox.service.following import follow
from lxsandbox.service.logs import Log
from lxsandbox.service.operations.operation import Answer, Operation

if TYPE_CHECKING:
    from lxsandbox.service.client import Client

__all__ = ["OPERATIONS"]


async def _wait_main(client: Client, message: wire.Message) -> Answer:
    return {"ended": await client.box(message).main.wait(message.get("seconds"))}, []


async def _restarts(client: Client, message: wire.Message) -> Answer:
    return {"restarts": client.box(message).main.restarts}, []


async def _restart(client: Client, message: wire.Message) -> Answer:
    box = client.alive(message)
    if box.state == "paused":
        raise SandboxError(f"sandbox {box.name} is paused, and cannot be restarted", hint="call resume() first")
    await box.main.on_request()
    return {}, []


async def _let_end(client: Client, message: wire.Message) -> Answer:
    client.box(message).main.give_up()
    return {}, []


async def _logs(client: Client, message: wire.Message) -> Answer:
    box, tail = client.box(message), message.get("tail")
    if box.log is None:
        return {"text": ""}, []
    return {"text": box.log.text() if tail is None else box.log.text_from(box.log.last_lines(int(tail)))}, []


async def _follow_logs(client: Client, message: wire.Message) -> Answer:
    box, tail = client.box(message), message.get("tail")
    if box.log is None:
        log = Log()  # of no command: over at once
        log.close()
        return {}, [follow(log, 0)]
    return {}, [follow(box.log, 0 if tail is None else box.log.last_lines(int(tail)))]


OPERATIONS: dict[str, Operation] = {
    "wait_main": _wait_main,
    "restarts": _restarts,
    "restart": _restart,
    "let_end": _let_end,
    "logs": _logs,
    "follow_logs": _follow_logs,
}
