"""Which port of this host leads to what in which sandbox, and that it stays so.

Addresses belong to a line: a sandbox and all that take its place by a reset. The forwarder does the work, and may die: it is
replaced, and has all that the one before had.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from lxsandbox.errors import SandboxDied, SandboxError
from lxsandbox.ports import Target, parse_ports, parse_target
from lxsandbox.service.box import Box
from lxsandbox.service.forwarder_link import ForwarderDied, ForwarderLink
from lxsandbox.service.port_holders import Holder, holder_of

__all__ = ["Forwards"]

_log = logging.getLogger(__name__)
_FORWARDERS = 3  # asked one after another, where each dies over the request
_IDLE_SECONDS = 120.0  # of a peer that sends datagrams; longer than a client waits for an answer
_SHORT_LIFE_SECONDS = 1.0
_SCRIPT = "forwarder/__main__.py"


@dataclass(kw_only=True)
class _Line:
    """The sandbox that is the line now, and the ports of the host that lead to it."""

    box: Box
    ports: dict[Target, int] = field(default_factory=dict[Target, int])


class Forwards:
    """All addresses of a run. Nothing is started before the first is asked for."""

    def __init__(self, run: str) -> None:
        self._link = ForwarderLink(run, self._died)
        self._lines: dict[str, _Line] = {}
        self._kept: set[str] = set()
        self._turn = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by the line that ends; "" for another forwarder
        self._started = 0.0

    @property
    def pid(self) -> int | None:
        """The forwarder's process id, while it runs."""
        return self._link.pid

    def known(self, box: Box) -> dict[str, int]:
        """What is reached at which port of the host, of those asked for so far."""
        line = self._lines.get(box.line)
        return {} if line is None else {str(target): port for target, port in line.ports.items()}

    async def address(self, box: Box, target: Target) -> int:
        """The port of 127.0.0.1 that leads to `target` of the box's line. Raises SandboxDied, SandboxError."""
        if box.spec.network == "host" and not target.path:
            return target.port
        return await self._port(box, target, None)

    async def publish(self, box: Box) -> None:
        """Have what its spec lists as `ports`. Raises SandboxError, which names who has a port that is taken."""
        for text, host_port in parse_ports(box.spec.ports).items():
            await self._port(box, parse_target(text), host_port)

    async def moved(self, box: Box) -> None:
        """The box has taken another's place: addresses of its line lead to it from now on."""
        async with self._turn:
            line = self._lines.get(box.line)
            if line is not None:
                line.box = box
                box.ended.add_done_callback(lambda _: self._ended(box))
                with suppress(ForwarderDied):  # the next one is told
                    await self._introduce(line)

    @asynccontextmanager
    async def kept(self, line: str) -> AsyncGenerator[None]:
        """Meanwhile the addresses stay, even if the sandbox that has them ends: another is to take its place."""
        self._kept.add(line)
        try:
            yield
        finally:
            self._kept.discard(line)
            if line in self._lines and self._lines[line].box.ended.done():
                self._end(line)

    async def settled(self, box: Box) -> None:
        """Of a box that has ended: wait until nothing listens for it any more."""
        task = self._tasks.get(box.line)
        if task is not None:
            await asyncio.wait([task])

    async def close(self) -> None:
        """End all of it."""
        self._lines.clear()
        self._link.stop()
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _port(self, box: Box, target: Target, host_port: int | None) -> int:
        async with self._turn:
            for _ in range(_FORWARDERS - 1):
                with suppress(ForwarderDied):
                    return await self._have(box, target, host_port)
            return await self._have(box, target, host_port)

    async def _have(self, box: Box, target: Target, host_port: int | None) -> int:
        await self._running()
        line = await self._line(box)
        try:
            if target not in line.ports:
                line.ports[target] = await self._listen(box.line, target, host_port)
        finally:
            await self._check(box, line)
        return line.ports[target]

    async def _check(self, box: Box, line: _Line) -> None:
        """Raises SandboxDied where the line has ended meanwhile, whatever else went wrong for that."""
        if self._lines.get(box.line) is not line:
            raise SandboxDied(box.name, await box.ended)

    async def _line(self, box: Box) -> _Line:
        if box.ended.done():
            raise SandboxDied(box.name, box.ended.result())
        line = self._lines.get(box.line)
        if line is None:
            line = self._lines[box.line] = _Line(box=box)
            box.ended.add_done_callback(lambda _: self._ended(box))
            await self._introduce(line)
        return line

    async def _introduce(self, line: _Line) -> None:
        """Tell the forwarder which sandbox the line is."""
        if self._link.pid is not None:
            with line.box.lend_channel() as channel:
                await self._link.ask("sandbox", [channel.fileno()], line=line.box.line)

    async def _listen(self, line: str, target: Target, host_port: int | None) -> int:
        request: dict[str, Any] = {"protocol": target.protocol, "port": target.port, "path": target.path}
        try:
            answer = await self._link.ask("listen", line=line, host_port=host_port or 0, idle_seconds=_IDLE_SECONDS, **request)
        except OSError as error:
            raise await self._refused(error, target, host_port) from error
        return int(answer["port"])

    async def _refused(self, error: OSError, target: Target, host_port: int | None) -> SandboxError:
        if error.errno == errno.EADDRINUSE and host_port is not None:
            holder = await asyncio.to_thread(holder_of, host_port, target.protocol)
            return SandboxError(
                f"port {host_port} of this host, for {target} of the sandbox, is taken by {self._named(holder, host_port)}",
                hint=f'end that, or take any free port with ports={{"{target}": None}} and ask `address()` which it is',
            )
        if error.errno == errno.EACCES:
            return SandboxError(
                f"port {host_port} of this host is not for you: {error.strerror}",
                hint="take one above 1023, or see net.ipv4.ip_unprivileged_port_start in ip(7)",
            )
        return SandboxError(f"{target} of the sandbox gets no address on this host: {error.strerror}")

    def _named(self, holder: Holder | None, port: int) -> str:
        if holder is None:
            return "somebody whom this user cannot see"
        if holder.pid is not None and holder.pid == self._link.pid:
            for line in self._lines.values():
                if port in line.ports.values():
                    return f"sandbox {line.box.name} of this run"
        if any(word.endswith(_SCRIPT) for word in holder.command):
            return f"a sandbox of the run {holder.command[-1]}: {holder}"
        return str(holder)

    async def _running(self) -> None:
        """See to it that there is a forwarder, which has all that there was before. Raises ForwarderDied."""
        if self._link.pid is not None:
            return
        self._started = asyncio.get_running_loop().time()
        self._link.start()
        for name, line in list(self._lines.items()):
            await self._introduce(line)
            for target, port in list(line.ports.items()):
                try:
                    await self._listen(name, target, port)
                except SandboxError as error:
                    if isinstance(error, ForwarderDied):
                        raise
                    _log.warning("%s", error)
                    line.ports.pop(target, None)

    def _died(self) -> None:
        """The addresses are to go on, even if nobody asks for one; one that dies at once is not started for ever."""
        loop = asyncio.get_running_loop()
        if self._lines and loop.time() - self._started > _SHORT_LIFE_SECONDS:
            self._begin("", self._again())

    async def _again(self) -> None:
        async with self._turn:
            with suppress(ForwarderDied):
                await self._running()

    def _ended(self, box: Box) -> None:
        line = self._lines.get(box.line)
        if line is not None and line.box is box and box.line not in self._kept:
            self._end(box.line)

    def _end(self, line: str) -> None:
        del self._lines[line]
        self._begin(line, self._end_there(line))

    async def _end_there(self, line: str) -> None:
        with suppress(ForwarderDied):
            await self._link.ask("end", line=line)

    def _begin(self, key: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))
