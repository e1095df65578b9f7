"""Who of the sandboxes may reach the world outside, and the outlet that they share.

The links, the rules and the names are the hub's (`hub.egress`), the outlet is a process of its own (`outlet`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from lxsandbox import wire
from lxsandbox.egress import allowances
from lxsandbox.errors import HostUnsupported, SandboxError
from lxsandbox.outlet import TAP
from lxsandbox.service.box import Box
from lxsandbox.service.hub_link import HubDied, HubLink
from lxsandbox.service.outlet import Outlet, OutletFailed, candidates
from lxsandbox.service.resolver import Resolver
from lxsandbox.spec import SandboxSpec

__all__ = ["Egress", "wants_egress"]

_log = logging.getLogger(__name__)
_START_SECONDS = 5.0
_LIVED_SECONDS = 1.0  # one that did is started again when it is killed; else the next sandbox that asks is told what is wrong


def wants_egress(spec: SandboxSpec) -> bool:
    """Whether the sandbox is to have a way out of its own; with the host's network it has that one."""
    return bool(spec.egress) and spec.network == "isolated"


class Egress:
    """The run's way out: none until a sandbox asks."""

    def __init__(self, hub: HubLink) -> None:
        self._hub = hub
        hub.on_lost.append(self.hub_lost)
        hub.on_event["outlet"] = self._outlet_told
        hub.on_event["resolve"] = self._asked
        self._resolver = Resolver()
        self._outlet: Outlet | None = None
        self._ready: asyncio.Future[wire.Message] | None = None
        self._since = 0.0
        self._starting = asyncio.Lock()
        self._members: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def outlet_pid(self) -> int | None:
        """The process id of the outlet, while there is one."""
        return self._outlet.pid if self._outlet is not None else None

    async def join(self, box: Box, spec: SandboxSpec) -> None:
        """Give a sandbox the way out that its spec asks for. It has joined its networks. Raises SandboxError."""
        if not wants_egress(spec):
            return
        box.ended.add_done_callback(lambda _: self._begin(self._leave(box)))
        allowed = None if spec.egress is True else [each.as_json() for each in allowances(list(spec.egress or ()))]
        try:
            await self._need_outlet()
            if not spec.networks:
                await self._introduce(box)
            await self._hub.ask("open_door", box=box.id, allowed=allowed)
        except OSError as error:
            raise SandboxError(
                f"sandbox {box.name} cannot have egress: {error.strerror}", hint="`lxsandbox doctor` tells what this host lacks"
            ) from error
        self._members.add(box.id)

    async def is_possible(self) -> bool:
        """Whether this host gives sandboxes a way out. There is an outlet then."""
        try:
            await self._need_outlet()
        except (SandboxError, OSError) as error:
            _log.info("there is no egress: %s", error)
            return False
        return True

    async def _introduce(self, box: Box) -> None:
        """To the hub, which does not know a sandbox that is in no network."""
        netns = os.open(f"/proc/{box.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            await self._hub.ask("join", [netns], box=box.id, names=[box.name.lower()], ports=[])
        finally:
            os.close(netns)

    async def _leave(self, box: Box) -> None:
        self._members.discard(box.id)
        try:
            await self._hub.ask_living("leave", box=box.id)
        except (HubDied, OSError) as error:
            _log.warning("%s could not leave its way out: %s", box.id, error)

    async def _need_outlet(self) -> None:
        async with self._starting:
            if self._outlet is None:
                await self._start()

    async def _start(self) -> None:
        complaints: list[str] = []
        for program in candidates():
            await self._hub.start()
            hub = self._hub.pid
            if hub is None:
                raise HubDied
            self._outlet = Outlet(program, hub, self._outlet_ended)
            try:
                await self._wait_ready(self._outlet)
                self._since = asyncio.get_running_loop().time()
                return
            except OutletFailed as failed:
                complaints.append(f"{program.name}: {failed}")
            except BaseException:
                self._stop_outlet()
                raise
            self._stop_outlet()
        raise HostUnsupported(
            f"the host's network cannot be reached from sandboxes: {'; '.join(complaints)}",
            hint="`lxsandbox doctor` tells what is missing",
            capability="egress",
        )

    async def _wait_ready(self, outlet: Outlet) -> None:
        program = outlet.program
        self._ready = asyncio.get_running_loop().create_future()
        addresses = {name: getattr(program, name) for name in ("ipv4", "gateway4", "ipv6", "gateway6")}
        await self._hub.ask("await_outlet", [outlet.pidfd], tap=TAP, **addresses)
        await asyncio.wait((self._ready, outlet.ended), timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if outlet.ended.done():
            raise OutletFailed(outlet.ended.result())
        if not self._ready.done():
            raise OutletFailed(f"it has made no tap within {_START_SECONDS:.0f} s")
        if "error" in self._ready.result():
            raise OutletFailed(self._ready.result()["error"])

    def _outlet_told(self, message: wire.Message) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(message)

    def _outlet_ended(self) -> None:
        """Nobody here has ended it. Those that have a way out get another outlet, unless it is of no use."""
        lived = self._since and asyncio.get_running_loop().time() - self._since > _LIVED_SECONDS
        if self._starting.locked():
            return  # whoever starts it sees it end
        self._outlet, self._since = None, 0.0
        if lived and self._members:
            self._begin(self._start_again())

    async def _start_again(self) -> None:
        try:
            await self._need_outlet()
        except (SandboxError, OSError) as error:
            _log.warning("the outlet ended, and cannot be started again: %s", error)

    def _asked(self, message: wire.Message) -> None:
        self._begin(self._resolve(message["number"], bytes.fromhex(message["query"])))

    async def _resolve(self, number: int, query: bytes) -> None:
        answer = await self._resolver.ask(query)
        try:
            await self._hub.ask_living("resolved", number=number, answer=answer.hex() if answer is not None else None)
        except (HubDied, OSError) as error:
            _log.warning("an answer about a name was of no use: %s", error)

    def hub_lost(self) -> None:
        """The hub has died, and with it all ways out."""
        self._members.clear()
        self._stop_outlet()

    def _stop_outlet(self) -> None:
        outlet, self._outlet = self._outlet, None
        if outlet is not None:
            outlet.stop()

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End the outlet. The sandboxes have gone."""
        self._stop_outlet()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
