"""Letting background work wait for a pause in what clients ask for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator

__all__ = ["Quiet"]

_PAUSE_SECONDS = 0.003  # longer than from the start of a short test's sandbox to its end
_MOST_SECONDS = 0.004  # what pressing work waits for a client that is being served


class Quiet:
    """Knows whether a client waits for a sandbox to come or to go, and for how long none has.

    Builds and removals take the same locks of the kernel: one in the background costs the one in front a millisecond or two.
    """

    def __init__(self) -> None:
        self._in_front = 0
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._last = 0.0  # when the last client was served, by the clock of the event loop

    @contextlib.contextmanager
    def foreground(self) -> Generator[None]:
        """While this lasts, and for a pause after it, background work waits."""
        self._in_front += 1
        self._nobody.clear()
        try:
            yield
        finally:
            self._in_front -= 1
            self._last = asyncio.get_running_loop().time()
            if not self._in_front:
                self._nobody.set()

    @contextlib.contextmanager
    def aside(self) -> Generator[None]:
        """Within `foreground`: while this lasts, the client waits for what background work does not delay."""
        self._in_front -= 1
        if not self._in_front:
            self._nobody.set()
        try:
            yield
        finally:
            self._in_front += 1
            self._nobody.clear()

    async def wait(self, pressing: asyncio.Event) -> None:
        """Return after a pause; once `pressing` is set, when nobody waits, or after a bounded time."""
        while not pressing.is_set() and (left := self._pause_left()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(pressing.wait(), left)
        await self.gap()

    async def gap(self) -> None:
        """Return when nobody waits, or after a bounded time."""
        if not self._in_front:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._nobody.wait(), _MOST_SECONDS)

    def _pause_left(self) -> float:
        if self._in_front:
            return _PAUSE_SECONDS
        return self._last + _PAUSE_SECONDS - asyncio.get_running_loop().time()
