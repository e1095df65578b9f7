"""Inits made ahead that fit every shape: namespaces, ids, loopback and a group, and nothing of an image yet.

A sandbox of a shape never seen before starts from one of these, so that it pays for its root alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from lxsandbox.errors import Death, SandboxError
from lxsandbox.service.box import Box
from lxsandbox.service.quiet import Quiet

__all__ = ["Blanks"]

_KEPT = 3
_ATTEMPTS = 3


class Blanks:
    """A few blank boxes with a network of their own; for `network="host"`, which is rare, there are none."""

    def __init__(self, make: Callable[[bool], Awaitable[Box]], quiet: Quiet) -> None:
        self._make = make
        self._quiet = quiet
        self._ready: deque[Box] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._pressing = asyncio.Event()  # there was none, or somebody waits until all are there
        self._closed = False

    def take(self, own_network: bool) -> Box | None:
        """A blank box, or None; another is made in its place."""
        if not own_network:
            return None
        while self._ready:
            box = self._ready.popleft()
            if not box.ending:
                break
        else:
            box = None
        if not self._ready:
            self._pressing.set()
        self.refill()
        return box

    def refill(self) -> None:
        """Make what is missing, in the background."""
        if not self._closed and (self._filling is None or self._filling.done()):
            self._filling = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        failures = 0
        while len(self._ready) < _KEPT and failures < _ATTEMPTS:
            await self._quiet.wait(self._pressing)
            if self._closed:
                return
            try:
                self._ready.append(await self._make(True))
                if len(self._ready) == _KEPT:
                    self._pressing.clear()
            except (SandboxError, OSError):
                failures += 1  # a spawner that was killed is replaced; else, whoever needs one makes it, and gets the error

    async def filled(self) -> None:
        """Wait until all are ready, or cannot be made."""
        if self._filling is not None and not self._filling.done():
            self._pressing.set()
            await asyncio.wait({self._filling})

    async def close(self) -> None:
        """End those that are ready, and make no more."""
        self._closed = True
        self._pressing.set()
        if self._filling is not None:
            await asyncio.wait({self._filling})
        for box in self._ready:
            box.end(Death(reason="closed"))
        self._ready.clear()
