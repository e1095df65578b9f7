"""What the main command of a sandbox prints: the last part of it, kept in memory as it comes."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable

__all__ = ["Log", "Watcher"]

_KEPT_BYTES = 1 << 20
_BLOCK_BYTES = 64 * 1024
_TAIL_LINES = 20

Watcher = Callable[[bytes], None]


class Log:
    """A pipe whose writer is the main command, and the last mebibyte of what came through it."""

    def __init__(self) -> None:
        self._read, self.write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.write_fd, True)
        self._blocks: deque[bytes] = deque()
        self._size = 0
        self._watchers: list[Watcher] = []
        asyncio.get_running_loop().add_reader(self._read, self._readable)

    def _readable(self) -> bool:
        """Take in what is there; False when there is nothing more just now."""
        try:
            block = os.read(self._read, _BLOCK_BYTES)
        except BlockingIOError:
            return False
        if not block:
            self.close()
            return False
        self._blocks.append(block)
        self._size += len(block)
        while self._size - len(self._blocks[0]) >= _KEPT_BYTES:
            self._size -= len(self._blocks.popleft())
        for watcher in tuple(self._watchers):
            watcher(block)
        return True

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Have `watcher` called with all that comes from now on. What is there already is `text()`. What is returned ends it."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def given_away(self) -> None:
        """The writer's end has been passed on: close ours, so that its end is the writer's end."""
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def text(self) -> str:
        """What is kept, and all that has been printed up to now."""
        for _ in range(_KEPT_BYTES // _BLOCK_BYTES):
            if self._read < 0 or not self._readable():
                break
        return b"".join(self._blocks).decode("utf-8", "replace")

    def tail(self) -> str:
        """The last lines, for a report."""
        return "\n".join(self.text().splitlines()[-_TAIL_LINES:])

    def close(self) -> None:
        """Close both ends; what was read stays."""
        self.given_away()
        if self._read >= 0:
            asyncio.get_running_loop().remove_reader(self._read)
            os.close(self._read)
            self._read = -1
