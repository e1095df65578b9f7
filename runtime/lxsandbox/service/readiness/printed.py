"""`Log`: the main command has printed something."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from lxsandbox.conditions import Log
from lxsandbox.errors import SpecError

if TYPE_CHECKING:
    from lxsandbox.service.readiness.watch import Sight

__all__ = ["LogWatch"]

_LINE_BYTES = 64 << 10
_SHOWN = 200
_STANDS_SECONDS = 0.02  # what has no end yet, and to which nothing more has come for so long, is taken for a prompt


class LogWatch:
    """Is told by the log of what comes, and looks at each line of it once."""

    def __init__(self, condition: Log, sight: Sight) -> None:
        self._pattern = re.compile(condition.pattern)
        self._count = condition.count
        self._sight = sight
        self._found = 0
        self._lines = 0
        self._last = ""
        self._rest = bytearray()  # of a line that has no end yet
        self._timer: asyncio.TimerHandle | None = None
        self._true: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def seen(self) -> str:
        """What was seen last."""
        if not self._lines and not self._rest:
            return "nothing was printed"
        shown = (self._rest.decode("utf-8", "replace") or self._last)[-_SHOWN:]
        matched = f"{self._found} of {self._count} lines" if self._count > 1 else "no line"
        return f"{matched} matched, {self._lines + bool(self._rest)} were printed, the last is {shown!r}"

    async def come_true(self) -> None:
        log = self._sight.box.log
        if log is None:
            raise SpecError(
                "Log(…) cannot come true: the sandbox has no main command, and so no log",
                hint="give it a command=, or wait for something else; what `run` and `popen` start prints to you",
            )
        end_watching = log.watch(self._take_in)
        try:
            place = log.dropped
            while before := log.read(place):
                self._take_in(before)
                place += len(before)
            await self._true
        finally:
            end_watching()
            if self._timer is not None:
                self._timer.cancel()

    def _take_in(self, block: bytes) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        *lines, rest = block.split(b"\n")
        for line in lines:
            self._look_at(bytes(self._rest[-_LINE_BYTES:]) + line)
            self._rest.clear()
        self._rest += rest
        del self._rest[:-_LINE_BYTES]
        if self._rest and not self._true.done():
            self._timer = asyncio.get_running_loop().call_later(_STANDS_SECONDS, self._stands)

    def _look_at(self, line: bytes) -> None:
        self._lines += 1
        self._last = line[-_LINE_BYTES:].removesuffix(b"\r").decode("utf-8", "replace")
        self._found += self._matches(self._last)
        self._judge(self._found)

    def _stands(self) -> None:
        self._judge(self._found + self._matches(self._rest.decode("utf-8", "replace")))

    def _matches(self, line: str) -> bool:
        return not self._true.done() and self._pattern.search(line) is not None

    def _judge(self, found: int) -> None:
        if found >= self._count and not self._true.done():
            self._true.set_result(None)
