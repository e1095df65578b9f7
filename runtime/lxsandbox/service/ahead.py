"""Work done ahead of need: in pauses, at once where it presses, and never twice at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from lxsandbox.service.quiet import Quiet

__all__ = ["Ahead"]


class Ahead:
    """One kind of work, done in the background by `work`, which asks for each of its turns."""

    def __init__(self, work: Callable[[], Awaitable[None]], quiet: Quiet) -> None:
        self._work = work
        self._quiet = quiet
        self._wanted = False
        self._pressing = asyncio.Event()
        self._short = False
        self._awaited = 0  # those who wait until all is done
        self._task: asyncio.Task[None] | None = None
        self.closed = False

    def start(self) -> None:
        """Have the work done; where it is being done, once more after that."""
        self._wanted = not self.closed
        if self._wanted and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._wanted:
            self._wanted = False
            await self._work()

    async def turn(self) -> bool:
        """Wait for a pause, or less where it presses; False once there shall be no more work."""
        await self._quiet.wait(self._pressing)
        return not self.closed

    def press(self, short: bool) -> None:
        """Say whether there is too little: then the next client to ask would have to wait."""
        self._short = short
        self._look()

    def _look(self) -> None:
        if self._short or self._awaited or self.closed:
            self._pressing.set()
        else:
            self._pressing.clear()

    async def finished(self) -> None:
        """Wait until the work is done, which it is now without waiting for pauses."""
        if self._task is None:
            return
        self._awaited += 1
        self._look()
        try:
            await asyncio.wait({self._task})
        finally:
            self._awaited -= 1
            self._look()

    async def close(self) -> None:
        """Begin no more of it, and wait for what has begun."""
        self.closed = True
        self._wanted = False
        await self.finished()
