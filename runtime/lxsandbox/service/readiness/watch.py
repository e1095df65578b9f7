"""What all kinds of conditions are looked at through, and what they have in common."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Protocol

from lxsandbox import wire
from lxsandbox.errors import SandboxDied, SandboxError
from lxsandbox.service.readiness.link import Link

if TYPE_CHECKING:
    from lxsandbox.service.box import Box
    from lxsandbox.service.readiness.pace import Pace

__all__ = ["Sight", "Watch"]


class Watch(Protocol):
    """One condition that is waited for, which is no combination."""

    @property
    def seen(self) -> str:
        """What was seen last, in words, for who waits in vain."""
        ...

    async def come_true(self) -> None:
        """Return once it holds. Raises SandboxError where it never will; the wait ends then, whatever else it is for."""
        ...


class Sight:
    """What one wait sees its sandbox through. To be closed: then nothing of it is left, inside or here."""

    def __init__(self, box: Box, pace: Pace) -> None:
        self.box = box
        self.pace = pace
        self._link: asyncio.Task[Link] | None = None

    async def link(self) -> Link:
        """The channel to init, opened by who asks first. Raises SandboxDied, SandboxError."""
        if self._link is None:
            self._link = asyncio.get_running_loop().create_task(_open(self.box))
        return await asyncio.shield(self._link)

    async def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket in the sandbox's network. Raises as `Link.socket`."""
        return await (await self.link()).socket(family, kind, protocol)

    async def close(self) -> None:
        """Let go of all of it."""
        if self._link is None:
            return
        self._link.cancel()
        with contextlib.suppress(asyncio.CancelledError, SandboxError):
            (await self._link).close()


async def _open(box: Box) -> Link:
    while True:
        ours, theirs = wire.pair()
        with theirs:
            try:
                await box.ask("channel", (theirs.fileno(),))
                return Link(ours)
            except SandboxDied:
                ours.close()
                raise
            except SandboxError:
                ours.close()
                if box.state != "paused":
                    raise
            except BaseException:
                ours.close()
                raise
