"""How often to look again at what no event tells of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator

__all__ = ["Pace", "Turns"]

_SHARE = 0.05
_LONGEST_SECONDS = 0.5


class Pace:
    """Shared by all waits of a run: the more there are, the longer each pauses.

    `round_seconds` is the shortest time in which all of them may look once: however many wait, the service has time for others.
    """

    def __init__(self) -> None:
        self.round_seconds = 0.0

    @contextlib.contextmanager
    def turns(self, shortest_seconds: float, *, share_seconds: float = 0.0003, costly: bool = False) -> Generator[Turns]:
        """While this lasts, one more looks again and again, with a pause of so many seconds or more in between.

        `share_seconds` is a few times what one look takes the service. What is `costly` is work for the sandbox too, and perhaps
        a line in its log: it pauses for a twentieth of what it has waited so far, if that is longer, and half a second at most.
        """
        self.round_seconds += share_seconds
        try:
            yield Turns(self, shortest_seconds, costly=costly)
        finally:
            self.round_seconds -= share_seconds


class Turns:
    """The pauses of one who looks again and again."""

    def __init__(self, pace: Pace, shortest_seconds: float, *, costly: bool) -> None:
        self._pace = pace
        self._shortest = shortest_seconds
        self._costly = costly
        self._began = asyncio.get_running_loop().time()

    async def pause(self) -> None:
        """Return when it is time to look again."""
        waited = asyncio.get_running_loop().time() - self._began
        share = min(waited * _SHARE, _LONGEST_SECONDS) if self._costly else 0.0
        await asyncio.sleep(max(self._shortest, share, self._pace.round_seconds))
