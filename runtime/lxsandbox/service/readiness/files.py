"""`File`: there is something at a path."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from typing import TYPE_CHECKING

from lxsandbox.conditions import File

if TYPE_CHECKING:
    from lxsandbox.service.readiness.watch import Sight

__all__ = ["FileWatch"]

_READ_BYTES = 1 << 20
_AGAIN_SECONDS = 0.005
_CONTENT_SECONDS = 0.02


class FileWatch:
    """Asks init for the file again and again; init finds it below the sandbox's own root."""

    def __init__(self, condition: File, sight: Sight) -> None:
        self._path = condition.path
        self._text = None if condition.contains is None else condition.contains.encode()
        self._sight = sight
        self.seen = "not looked at yet"

    async def come_true(self) -> None:
        look, seconds = (self._is_there, _AGAIN_SECONDS) if self._text is None else (self._contains, _CONTENT_SECONDS)
        with self._sight.pace.turns(seconds) as turns:
            while True:
                try:
                    if await look():
                        return
                except OSError as error:
                    self.seen = "it is not there" if error.errno == errno.ENOENT else f"it cannot be read: {error.strerror}"
                await turns.pause()

    async def _is_there(self) -> bool:
        link = await self._sight.link()
        found, _ = await link.ask("stat", path=self._path, follow=True)
        self.seen = "it is there"
        return stat.S_IFMT(found["mode"]) != 0

    async def _contains(self) -> bool:
        link = await self._sight.link()
        _, (fd,) = await link.ask("open", path=self._path, flags=os.O_RDONLY | os.O_CLOEXEC, mode=0)
        try:
            # In a thread: what a sandbox mounts there may take its time, and all others wait for this loop.
            content = await asyncio.to_thread(os.pread, fd, _READ_BYTES, 0)
        finally:
            os.close(fd)
        self.seen = f"it has {len(content)} bytes, and that text is not among them"
        return self._text is not None and self._text in content
