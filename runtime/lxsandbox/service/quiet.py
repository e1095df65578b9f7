"""Letting background work wait while somebody waits for the service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator

__all__ = ["Quiet"]

_MOST_SECONDS = 0.004  # under a steady load, background work goes on all the same


class Quiet:
    """Knows whether a client waits for a sandbox to come or to go.

    Builds and removals take the same locks of the kernel: one in the background costs the one in front a millisecond.
    """

    def __init__(self) -> None:
        self._in_front = 0
        self._nobody = asyncio.Event()
        self._nobody.set()

    @contextlib.contextmanager
    def foreground(self) -> Generator[None]:
        """While this lasts, background work waits."""
        self._in_front += 1
        self._nobody.clear()
        try:
            yield
        finally:
            self._in_front -= 1
            if not self._in_front:
                self._nobody.set()

    async def wait(self) -> None:
        """Return when nobody waits, or after a bounded time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._nobody.wait(), _MOST_SECONDS)
