"""What the main command of a sandbox prints: the last part of it, kept in memory as it comes, and told to who watches."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable

__all__ = ["Log", "Watcher"]

_KEPT_BYTES = 1 << 20
_KEPT_BYTES_OF_THE_DEAD = 64 << 10  # a run remembers a thousand sandboxes that have gone
_BLOCK_BYTES = 64 * 1024
_TAIL_LINES = 20
# After a full block: what prints without an end may keep neither the service's event loop nor its processor busy.
_PAUSE_SECONDS = 0.001

Watcher = Callable[[bytes], None]


class Log:
    """A pipe whose writer is the main command, and the last mebibyte of what came through it.

    Places in it are bytes from its very beginning: what is kept goes from `dropped` to `size`. It is `over` once nothing that
    anybody should wait for comes any more.
    """

    def __init__(self) -> None:
        self._read, self.write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self.write_fd, True)
        self._blocks: deque[bytearray] = deque()
        self._watchers: list[Watcher] = []
        self.dropped = 0
        self.size = 0
        self.over = False
        self._loop = asyncio.get_running_loop()
        self._pausing: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._read, self._readable)

    def _readable(self) -> None:
        if self._take_in() == _BLOCK_BYTES:
            self._loop.remove_reader(self._read)
            self._pausing = self._loop.call_later(_PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._pausing = None
        self._loop.add_reader(self._read, self._readable)

    def _take_in(self) -> int:
        """Take in a block of what is there: its size; 0 when there is nothing more just now."""
        try:
            block = os.read(self._read, _BLOCK_BYTES)
        except BlockingIOError:
            return 0
        if not block:
            self.close()
            return 0
        if self._blocks and len(self._blocks[-1]) + len(block) <= _BLOCK_BYTES:
            self._blocks[-1] += block  # what is printed byte by byte would else take forty times its size
        else:
            self._blocks.append(bytearray(block))
        self.size += len(block)
        self._keep(_KEPT_BYTES)
        self._tell(block)
        return len(block)

    def _keep(self, count: int) -> None:
        while self._blocks and self.size - self.dropped - len(self._blocks[0]) >= count:
            self.dropped += len(self._blocks.popleft())

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Have `watcher` called with all that comes from now on, and with nothing (`b""`) when it is over.

        It must not block. What is there already is `text()`, asked for before. The function that is returned ends it.
        """
        self._watchers.append(watcher)
        return lambda: self._unwatch(watcher)

    def _unwatch(self, watcher: Watcher) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)
        self._cut_the_dead()

    def _tell(self, block: bytes) -> None:
        for watcher in tuple(self._watchers):
            watcher(block)

    def given_away(self) -> None:
        """The writer's end has been passed on: close ours, so that its end is the writer's end."""
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    def text(self) -> str:
        """What is kept, and all that has been printed up to now."""
        self._catch_up()
        return b"".join(self._blocks).decode("utf-8", "replace")

    def _catch_up(self) -> None:
        for _ in range(_KEPT_BYTES // _BLOCK_BYTES):
            if self._read < 0 or not self._take_in():
                break

    def text_from(self, place: int) -> str:
        """What is kept from `place` on."""
        return b"".join(self._blocks)[max(0, place - self.dropped) :].decode("utf-8", "replace")

    def tail(self) -> str:
        """The last lines, for a report."""
        return "\n".join(self.text().splitlines()[-_TAIL_LINES:])

    def read(self, place: int) -> bytes:
        """Something of what is kept from `place` on, which is not before `dropped`; nothing where no more has come."""
        start = self.dropped
        for block in self._blocks:
            if place < start + len(block):
                return bytes(block[place - start :])
            start += len(block)
        return b""

    def line_after(self, place: int) -> int:
        """Where the first line begins that is whole from `place` on, which is not before `dropped`; `place` if there is none."""
        end = b"".join(self._blocks).find(b"\n", place - self.dropped)
        return place if end < 0 else self.dropped + end + 1

    def last_lines(self, count: int) -> int:
        """The place where the last `count` lines begin, the one that is not complete among them."""
        self._catch_up()
        text = b"".join(self._blocks)
        if count <= 0:
            return self.size
        at = len(text) - text.endswith(b"\n")
        for _ in range(count):
            at = text.rfind(b"\n", 0, at)
            if at < 0:
                return self.dropped
        return self.dropped + at + 1

    def finish(self) -> None:
        """The main command has ended for good. What it left running may go on printing, which is kept, and awaited by nobody."""
        self._catch_up()
        if not self.over:
            self.over = True
            self._tell(b"")

    def begin_again(self) -> None:
        """A main command runs again."""
        self.over = self._read < 0

    def close(self) -> None:
        """Close both ends; what was read stays."""
        self.given_away()
        if self._pausing is not None:
            self._pausing.cancel()
            self._pausing = None
        if self._read >= 0:
            self._loop.remove_reader(self._read)
            os.close(self._read)
            self._read = -1
        self.finish()
        self._cut_the_dead()

    def _cut_the_dead(self) -> None:
        if self._read < 0 and not self._watchers:
            self._keep(_KEPT_BYTES_OF_THE_DEAD)
