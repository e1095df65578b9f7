"""A channel to init for one wait: requests that may take as long as the wait does, and commands with their ends.

Not the control socket of the box, where a request that is not answered soon is an error: a paused sandbox answers nothing, and
what it was asked to start starts when it goes on, perhaps when nobody waits any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Any

from lxsandbox import wire
from lxsandbox.remote_errors import error_from_wire
from lxsandbox.service.sockets import MessageSocket

__all__ = ["Link", "LinkLost"]


class LinkLost(Exception):
    """The sandbox has ended, which whoever waits is told by its box."""


class _Request:
    """One on its way; `ended`, where it starts a command, is the return code to be."""

    def __init__(self, op: str) -> None:
        loop = asyncio.get_running_loop()
        self.op = op
        self.reply: asyncio.Future[tuple[wire.Message, list[int]]] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()


class Link:
    """Requests to one init, and the ends of commands started by them. `close` leaves nothing running."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = MessageSocket(sock, self._told, self._gone)
        self._asked: dict[int, _Request] = {}
        self._running: dict[int, asyncio.Future[int]] = {}
        self._next = 0
        self._closing = False

    async def ask(self, op: str, **fields: Any) -> tuple[wire.Message, list[int]]:
        """The answer, and the descriptors that come with it. Raises what init answers: SandboxError, OSError; and LinkLost."""
        return await self._answer(self._send(op, (), fields))

    async def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket in the sandbox's network, which is never waited for. Raises as `ask`."""
        _, (fd,) = await self.ask("socket", family=int(family), type=int(kind), proto=protocol)
        made = socket.socket(fileno=fd)
        made.setblocking(False)
        return made

    async def start(self, stdio: tuple[int, int, int], **fields: Any) -> asyncio.Future[int]:
        """Start a command: its return code to be, for which LinkLost may be raised instead. Raises as `ask`."""
        request = self._send("exec", stdio, fields)
        await self._answer(request)
        return request.ended

    def kill(self, ended: asyncio.Future[int]) -> None:
        """Kill a command that has been started, and all that it has started, unless it has ended."""
        for pid in [pid for pid, end in self._running.items() if end is ended]:
            self._kill(pid)

    def close(self) -> None:
        """Kill what still runs. A command that was asked for and has not been started is killed when it is.

        The socket is closed once all is answered: init reads nothing more from who does not take its answers.
        """
        self._closing = True
        for pid in self._running:
            self._kill(pid)
        self._close_if_answered()

    def _close_if_answered(self) -> None:
        if self._closing and not self._asked:
            self._socket.close()

    def _send(self, op: str, fds: tuple[int, ...], fields: dict[str, Any]) -> _Request:
        if self._socket.closed:
            raise LinkLost
        self._next += 1
        request = self._asked[self._next] = _Request(op)
        self._socket.send({"id": self._next, "op": op, **fields}, fds)
        return request

    async def _answer(self, request: _Request) -> tuple[wire.Message, list[int]]:
        try:
            message, passed = await request.reply
        except asyncio.CancelledError:
            if not request.reply.cancelled():  # it came at the same moment
                _close_all(request.reply.result()[1])
            raise
        if "error" in message:
            raise error_from_wire(message["error"])
        return message["ok"], passed

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(LinkLost):  # then it is dead already
            self._send("kill_tree", (), {"pid": pid}).reply.cancel()

    def _told(self, message: wire.Message, fds: list[int]) -> None:
        if message.get("event") == "exit":
            ended = self._running.pop(message["pid"], None)
            if ended is not None and not ended.done():
                ended.set_result(int(message["status"]))
            return
        request = self._asked.pop(message.get("id", 0), None)
        if request is not None and request.op == "exec" and "ok" in message:
            # Here, and not where it is waited for: the news of its end may be the next message.
            self._running[message["ok"]["pid"]] = request.ended
        if request is not None and not request.reply.done():
            request.reply.set_result((message, fds))
            return
        _close_all(fds)
        if request is not None and request.op == "exec" and "ok" in message:
            self._kill(message["ok"]["pid"])  # nobody waits for it any more
        self._close_if_answered()

    def _gone(self) -> None:
        replies = [request.reply for request in self._asked.values()]
        lost: list[asyncio.Future[Any]] = [*replies, *self._running.values()]
        self._asked.clear()
        self._running.clear()
        for future in lost:
            if not future.done():
                future.set_exception(LinkLost())
                future.exception()  # perhaps nobody asks for it, which asyncio would tell of as an error


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
