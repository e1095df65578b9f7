"""One client of the service: how it is answered, and what it owns. When it goes, all that it owns goes.

What can be asked for is in `operations`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from lxsandbox import wire
from lxsandbox.errors import Death, SandboxDied, SandboxError
from lxsandbox.service.box import Box
from lxsandbox.service.failures import error_as_json
from lxsandbox.service.operations import OPERATIONS
from lxsandbox.service.sockets import MessageSocket

if TYPE_CHECKING:
    import socket

    from lxsandbox.images.transports import Pull
    from lxsandbox.service.run import Run

__all__ = ["Client"]

_log = logging.getLogger(__name__)
_IN_FRONT = ("create", "reset", "close", "kill")  # what a test waits for; work done ahead gives way to it


class Client:
    """A connection, its requests (each a task), and its figures for the report."""

    def __init__(self, run: Run, sock: socket.socket) -> None:
        self.run = run
        self.socket = MessageSocket(sock, self._asked, self._gone)
        self.observer = False
        self.label = ""
        self.visible: dict[str, str] = {}
        self.env: dict[str, str] = {}
        self.pull: Pull = "missing"
        self.offline = False
        self.lock = ""
        self.starts: list[float] = []
        self.pool_hits = 0
        self.peak_bytes = 0
        self.leaving = False
        self.waits: set[asyncio.Task[Any]] = set()  # requests that nobody has any use for once it has gone
        self._tasks: set[asyncio.Task[None]] = set()

    def _asked(self, message: wire.Message, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)  # no request brings any
        self.begin(self._answer(message))

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Have `work` done as a task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self.socket.closed:
            self.run.networks.owner_gone(self)  # what was begun before it went may have made one since

    async def _answer(self, message: wire.Message) -> None:
        key = message.get("id")
        operation = OPERATIONS.get(str(message.get("op")))
        try:
            if operation is None:
                raise SandboxError(f"the service knows no operation {message.get('op')!r}")
            with self.run.factory.quiet.foreground() if message["op"] in _IN_FRONT else nullcontext():
                answer, fds = await operation(self, message)
        except (SandboxError, OSError) as error:
            self.socket.send({"id": key, "error": error_as_json(error)})
            return
        except Exception as error:  # noqa: BLE001 - nonsense, or a fault of ours: said to this client, and all others go on
            _log.exception("%r cannot be answered", message.get("op"))
            hint = "see service.log in the folder of the run; with a request that makes sense, please report it"
            nonsense = SandboxError(f"the service cannot answer {message.get('op')!r}: {error!r}", hint=hint)
            self.socket.send({"id": key, "error": error_as_json(nonsense)})
            return
        self.socket.send({"id": key, "ok": answer}, fds)
        for fd in fds:
            os.close(fd)

    def _gone(self) -> None:
        for task in self.waits:
            task.cancel()
        for box in self.owned():
            box.end(Death(reason="closed"))
        self.run.client_gone(self)

    def owned(self) -> list[Box]:
        """The sandboxes that were made for it and have not gone yet."""
        return [box for box in self.run.factory.boxes.values() if box.owner is self]

    def box(self, message: wire.Message) -> Box:
        """The sandbox that a request is about, which may have ended. Raises SandboxError where there is none."""
        name = message["sandbox"]
        for box in self.run.known(name):
            return box
        raise SandboxError(f"no sandbox {name!r} in this run", hint="`lxsandbox ps` lists them")

    def alive(self, message: wire.Message) -> Box:
        """The same, and it has not ended. Raises SandboxDied."""
        box = self.box(message)
        if box.ended.done():
            raise SandboxDied(box.name, box.ended.result())
        return box
