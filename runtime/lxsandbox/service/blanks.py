"""Inits made ahead that fit every shape: namespaces, ids, loopback and a group, and nothing of an image yet.

A sandbox of a shape never seen before starts from one of these, so that it pays for its root alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

from lxsandbox.errors import Death, SandboxError
from lxsandbox.service.ahead import Ahead
from lxsandbox.service.box import Box
from lxsandbox.service.quiet import Quiet

__all__ = ["Blanks"]

_KEPT = 3


class Blanks:
    """A few blank boxes with a network of their own; for `network="host"`, which is rare, there are none."""

    def __init__(self, make: Callable[[bool], Awaitable[Box]], quiet: Quiet) -> None:
        self._make = make
        self._ready: deque[Box] = deque()
        self._ahead = Ahead(self._fill, quiet)

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
            self._ahead.press(True)
        self.refill()
        return box

    def refill(self) -> None:
        """Make what is missing, in the background."""
        self._ahead.start()

    async def _fill(self) -> None:
        while len(self._ready) < _KEPT and await self._ahead.turn():
            try:
                self._ready.append(await self._make(True))
            except (SandboxError, OSError):
                return  # whoever needs one makes it himself, and gets the error
        self._ahead.press(False)

    async def filled(self) -> None:
        """Wait until all are ready, or cannot be made."""
        await self._ahead.finished()

    async def close(self) -> None:
        """End those that are ready, and make no more."""
        await self._ahead.close()
        for box in self._ready:
            box.end(Death(reason="closed"))
        self._ready.clear()
