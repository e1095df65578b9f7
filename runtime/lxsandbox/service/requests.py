"""Requests to a process of the service's own over one socket: each answer goes to whoever asked, by its number."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

from lxsandbox import wire
from lxsandbox.errors import SandboxError
from lxsandbox.service.sockets import MessageSocket

__all__ = ["DEADLINE_SECONDS", "Reply", "Requests"]

DEADLINE_SECONDS = 30.0

Reply = tuple[wire.Message, list[int]]
"""What was answered, and the descriptors that came with it, which are the asker's."""


class Requests:
    """The line to one process. `gone` is called once, when it has ended or the line was closed here.

    `died` makes the error for those who wait then; `told` gets what is said unasked, a message with an `event`.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        died: Callable[[], SandboxError],
        gone: Callable[[], None],
        told: Callable[[wire.Message], None] | None = None,
    ) -> None:
        self._died = died
        self._when_gone = gone
        self._told = told
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._next = 0
        self._socket = MessageSocket(sock, self._came, self._gone)
        self.close = self._socket.close
        self.read_rest = self._socket.read_rest

    async def ask(self, message: wire.Message, fds: Sequence[int] = ()) -> Reply:
        """Send `message` and wait for its answer. Raises what `died` makes, and TimeoutError."""
        self._next += 1
        key = self._next
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        self._socket.send({**message, "id": key}, fds)
        try:
            return await asyncio.wait_for(future, DEADLINE_SECONDS)
        finally:
            self._waiting.pop(key, None)

    def _came(self, message: wire.Message, fds: list[int]) -> None:
        future = None if "event" in message else self._waiting.pop(message["id"], None)
        if future is not None and not future.done():
            future.set_result((message, fds))
            return
        for fd in fds:
            os.close(fd)
        if "event" in message and self._told is not None:
            self._told(message)

    def _gone(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(self._died())
        self._when_gone()
