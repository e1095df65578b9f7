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

from lxsandbox import wire
from lxsandbox.errors import SandboxError
from lxsandbox.remote_errors import error_from_wire
from lxsandbox.service.requests import DEADLINE_SECONDS, Requests
from lxsandbox.service.spawner_link import SpawnerDied, SpawnerLink

__all__ = ["HubDied", "HubLink"]


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
        self._requests: Requests | None = None
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
            if self._requests is None:
                await self._start()

    async def ask_living(self, op: str, **fields: Any) -> dict[str, Any]:
        """The same, of a hub that runs: none is started, and nothing is asked of none."""
        return {} if self._requests is None else await self._ask(op, (), fields)

    async def _ask(self, op: str, fds: Sequence[int], fields: dict[str, Any]) -> dict[str, Any]:
        if self._requests is None:
            raise HubDied
        try:
            message, passed = await self._requests.ask({"op": op, **fields}, fds)
        except TimeoutError:
            raise SandboxError(f"the process that holds the networks has not done {op!r} in {DEADLINE_SECONDS:.0f} s") from None
        for fd in passed:
            os.close(fd)  # it passes none
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
        self._requests = Requests(ours, died=HubDied, gone=self._gone, told=self._told)

    async def _clone(self, control: int) -> tuple[int, int]:
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
        request = {"op": "hub", "path": path}
        with contextlib.suppress(SpawnerDied):  # it was killed: another one takes its place
            answer, (pidfd,) = await self._spawner.ask(request, [control])
            return answer["pid"], pidfd
        answer, (pidfd,) = await self._spawner.ask(request, [control])
        return answer["pid"], pidfd

    def _told(self, message: wire.Message) -> None:
        self.on_event[message["event"]](message)

    def _gone(self) -> None:
        self._requests, self.pid = None, None
        with contextlib.suppress(ProcessLookupError):  # its end of the line is closed, so it has ended or is about to
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        for lost in self.on_lost:
            lost()

    def _reap(self, pidfd: int, ended: asyncio.Future[None]) -> None:
        """The kernel has ended it."""
        asyncio.get_running_loop().remove_reader(pidfd)
        if self._pidfd == pidfd and self._requests is not None:
            self._requests.read_rest()  # to its end of file, if that has not been seen
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
        ended.set_result(None)

    async def stop(self, deadline_seconds: float) -> None:
        """End the hub, and all networks with it."""
        if self._requests is not None:
            self._requests.close()
        if self._ended is not None:
            await asyncio.wait((self._ended,), timeout=deadline_seconds)


def _error(error: dict[str, Any]) -> Exception:
    # What the hub says of an errno tells more than the errno.
    return OSError(error["errno"], error["message"]) if error["kind"] == "OSError" else error_from_wire(error)
