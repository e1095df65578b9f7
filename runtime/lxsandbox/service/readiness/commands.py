"""`Command`: a command succeeds inside."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from lxsandbox.conditions import Command

if TYPE_CHECKING:
    from lxsandbox.service.readiness.watch import Sight

__all__ = ["Attempts", "CommandWatch"]

_KEPT_BYTES = 4096
_BLOCK_BYTES = 64 << 10
_SHOWN = 300
_AGAIN_SECONDS = 0.02


class CommandWatch:
    """Runs the command anew, a moment after it has ended, until it succeeds."""

    def __init__(self, condition: Command, sight: Sight) -> None:
        self._sight = sight
        self._attempts = Attempts({"args": condition.args, "env": condition.env, "user": _user(condition.user)}, sight)

    @property
    def seen(self) -> str:
        """What was seen last."""
        return self._attempts.seen

    async def come_true(self) -> None:
        with self._sight.pace.turns(_AGAIN_SECONDS, costly=True) as turns:
            while not await self._attempts.succeeds():
                await turns.pause()


class Attempts:
    """Runs of one command, and what came of the last of them."""

    def __init__(self, fields: dict[str, Any], sight: Sight, *, seconds: float | None = None) -> None:
        """`fields`: as init has them for a command. `seconds`: how long one run may take; it is killed then."""
        self._fields = fields
        self._sight = sight
        self._seconds = seconds
        self.seen = "it has not ended yet"

    async def succeeds(self) -> bool:
        """Run it once. Raises CommandNotFound and what else keeps it from being started."""
        link = await self._sight.link()
        output = _Output()
        try:
            with open(os.devnull, "rb") as nothing:  # noqa: ASYNC230 - a device, which is opened at once
                ended = await link.start((nothing.fileno(), output.writer, output.writer), **self._fields)
            output.given_away()
            try:
                code = await asyncio.wait_for(asyncio.shield(ended), self._seconds)
                self.seen = f"exit code {code}{output.told()}"
            except TimeoutError:
                code = -1
                self.seen = f"it did not end within {self._seconds:g} s{output.told()}"
            finally:
                link.kill(ended)
        finally:
            output.close()
        return code == 0


class _Output:
    """A pipe that is read as it fills, and the last of what came through it."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.writer, True)
        self._kept = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader, self._readable)

    def _readable(self) -> bool:
        try:
            block = os.read(self._reader, _BLOCK_BYTES)
        except BlockingIOError:
            return False
        if not block:
            self._loop.remove_reader(self._reader)
        self._kept = (self._kept + block)[-_KEPT_BYTES:]
        return bool(block)

    def given_away(self) -> None:
        """The writer's end has been passed on."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def told(self) -> str:
        """What was printed last, in words; nothing where nothing was."""
        for _ in range(16):  # the pipe's own capacity, 64 KiB, in what it may be filled by: what runs on may print for ever
            if not self._readable():
                break
        text = self._kept.decode("utf-8", "replace").strip()
        return f", it printed {text[-_SHOWN:]!r}" if text else ""

    def close(self) -> None:
        self.given_away()
        self._loop.remove_reader(self._reader)
        os.close(self._reader)


def _user(user: str | int | None) -> str | None:
    return None if user is None else str(user)
