"""The service's end of the hub: starting it, asking it, and saying when it has gone.

What is asked is the business of `networks`. A hub that has died takes all networks with it; the next one knows none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from lxsandbox import errors, wire
from lxsandbox.errors import HostUnsupported, SandboxError
from lxsandbox.service.sockets import MessageSocket
from lxsandbox.service.spawner_link import SpawnerDied, SpawnerLink

__all__ = ["HubDied", "HubLink"]

_DEADLINE_SECONDS = 30.0


class HubDied(SandboxError):
    """It ended over a request, and with it all networks there were."""

    def __init__(self) -> None:
        super().__init__("the process that holds the networks of this run has died", hint="it was killed, or crashed; try again")


class HubLink:
    """Requests to the hub, answered in order. It is started by the first one; `on_lost` is called when it has died."""

    def __init__(self, spawner: SpawnerLink, on_lost: Callable[[], None]) -> None:
        self._spawner = spawner
        self.on_lost = [on_lost]  # called when it has died
        self.on_event: dict[str, Callable[[wire.Message], None]] = {}  # what it says unasked, by kind
        self._socket: MessageSocket | None = None
        self._waiting: dict[int, asyncio.Future[wire.Message]] = {}
        self._next = 0
        self._starting = asyncio.Lock()
        self._pidfd = -1
        self._ended: asyncio.Future[None] | None = None  # of one that was started: when the kernel is through with it
        self.pid: int | None = None

    async def ask(self, op: str, fds: Sequence[int] = (), **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its answer. Raises OSError as the hub met it, SandboxError."""
        await self.start()
        return await self._ask(op, fds, fields)

    async def start(self) -> None:
        """Start the hub unless there is one. Raises OSError, SandboxError."""
        async with self._starting:
            if self._socket is None:
                await self._start()

    async def ask_living(self, op: str, **fields: Any) -> dict[str, Any]:
        """The same, of a hub that runs: none is started, and nothing is asked of none."""
        return {} if self._socket is None else await self._ask(op, (), fields)

    async def _ask(self, op: str, fds: Sequence[int], fields: dict[str, Any]) -> dict[str, Any]:
        if self._socket is None:
            raise HubDied
        self._next += 1
        key = self._next
        future: asyncio.Future[wire.Message] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        self._socket.send({"id": key, "op": op, **fields}, fds)
        try:
            message = await asyncio.wait_for(future, _DEADLINE_SECONDS)
        except TimeoutError:
            raise SandboxError(f"the process that holds the networks has not done {op!r} in {_DEADLINE_SECONDS:.0f} s") from None
        finally:
            self._waiting.pop(key, None)
        if "error" in message:
            raise _error(message["error"])
        answer: dict[str, Any] = message["ok"]
        return answer

    async def _start(self) -> None:
        ours, theirs = wire.pair()
        with theirs:
            try:
                self.pid, self._pidfd = await self._clone(theirs.fileno())
            except BaseException:
                ours.close()
                raise
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        loop.add_reader(self._pidfd, self._reap, self._pidfd, self._ended)
        self._socket = MessageSocket(ours, self._answered, self._gone)

    async def _clone(self, control: int) -> tuple[int, int]:
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
        request = {"op": "hub", "path": path}
        with contextlib.suppress(SpawnerDied):  # it was killed: another one takes its place
            answer, (pidfd,) = await self._spawner.ask(request, [control])
            return answer["pid"], pidfd
        answer, (pidfd,) = await self._spawner.ask(request, [control])
        return answer["pid"], pidfd

    def _answered(self, message: wire.Message, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)  # it passes none
        if "event" in message:
            self.on_event[message["event"]](message)
            return
        future = self._waiting.pop(message["id"], None)
        if future is not None and not future.done():
            future.set_result(message)

    def _gone(self) -> None:
        self._socket, self.pid = None, None
        with contextlib.suppress(ProcessLookupError):  # its end of the line is closed, so it has ended or is about to
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(HubDied())
        for lost in self.on_lost:
            lost()

    def _reap(self, pidfd: int, ended: asyncio.Future[None]) -> None:
        """The kernel has ended it."""
        asyncio.get_running_loop().remove_reader(pidfd)
        if self._pidfd == pidfd and self._socket is not None:
            self._socket.read_rest()  # to its end of file, if that has not been seen
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
        ended.set_result(None)

    async def stop(self, deadline_seconds: float) -> None:
        """End the hub, and all networks with it."""
        if self._socket is not None:
            self._socket.close()
        if self._ended is not None:
            await asyncio.wait((self._ended,), timeout=deadline_seconds)


def _error(error: dict[str, Any]) -> Exception:
    if error["kind"] == "OSError":
        return OSError(error["errno"], error["message"])
    if error["kind"] == "HostUnsupported":
        return HostUnsupported(error["message"], hint=error["hint"], capability=error["capability"])
    kind: type[SandboxError] = getattr(errors, error["kind"], SandboxError)
    return kind(error["message"], hint=error["hint"])
