"""How often to look again at what no event tells of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator

__all__ = ["Pace", "Turns"]

# A look takes the service 0.05 to 0.2 ms: however many wait at once, at most a good part of its time goes into looking.
_SECONDS_FOR_EACH = 0.0003
_SHARE = 0.05
_LONGEST_SECONDS = 0.5


class Pace:
    """Shared by all waits of a run: the more there are, the longer each pauses."""

    def __init__(self) -> None:
        self.looking = 0

    @contextlib.contextmanager
    def turns(self, shortest_seconds: float, *, costly: bool = False) -> Generator[Turns]:
        """While this lasts, one more looks again and again, with a pause of so many seconds or more in between.

        What is `costly` is work for the sandbox too, and perhaps a line in its log: it pauses for a twentieth of what it has
        waited so far, if that is longer, and half a second at most.
        """
        self.looking += 1
        try:
            yield Turns(self, shortest_seconds, costly=costly)
        finally:
            self.looking -= 1


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
        await asyncio.sleep(max(self._shortest, share, self._pace.looking * _SECONDS_FOR_EACH))
