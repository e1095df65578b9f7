"""A log as it grows, written into a pipe for one that reads it in its own time."""

from __future__ import annotations

import asyncio
import os

from lxsandbox.service.logs import Log

__all__ = ["follow"]


def follow(log: Log, place: int) -> int:
    """The end to read of a pipe with all of `log` from `place` on; end-of-file is when the log is over.

    What the log has dropped before it was read is left out, and a line says how much that was. Nobody ever waits for the reader;
    when it closes its end, nothing is left of this.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writer, False)
    _Follower(log, place, writer).start()
    return reader


class _Follower:
    """Has no more of the log than a place in it: what it is slow to pass on is not kept for it."""

    def __init__(self, log: Log, place: int, writer: int) -> None:
        self._log = log
        self._place = place
        self._writer = writer
        self._notice = b""  # the rest of a line of ours that is being written
        self._in_line = False  # what was written last is no end of a line
        self._waiting = False  # for room in the pipe
        self._loop = asyncio.get_running_loop()
        self._unwatch = log.watch(self._printed)

    def start(self) -> None:
        # A pipe whose reader has gone is readable, as poll(2) has it: POLLERR.
        self._loop.add_reader(self._writer, self._close)
        self._pass_on()

    def _printed(self, _: bytes) -> None:
        if not self._waiting and self._writer >= 0:
            self._pass_on()

    def _pass_on(self) -> None:
        """Write one piece; the next when there is room, so that a quick reader does not keep the event loop busy."""
        piece = self._next_piece()
        try:
            written = os.write(self._writer, piece) if piece else 0
        except BlockingIOError:
            written = 0
        except BrokenPipeError:
            self._close()
            return
        self._passed(piece[:written])
        behind = bool(self._notice) or self._place < self._log.size
        if not behind and self._log.over:
            self._close()
        elif behind != self._waiting:
            self._wait_for_room(wait=behind)

    def _next_piece(self) -> bytes:
        if not self._notice and self._place < self._log.dropped:
            start = self._log.line_after(self._log.dropped)
            self._notice = b"\n" * self._in_line + b"[\xe2\x80\xa6 %d bytes dropped]\n" % (start - self._place)
            self._place = start
        return self._notice or self._log.read(self._place)

    def _passed(self, piece: bytes) -> None:
        if self._notice:
            self._notice = self._notice[len(piece) :]
        else:
            self._place += len(piece)
        if piece:
            self._in_line = not piece.endswith(b"\n")

    def _wait_for_room(self, *, wait: bool) -> None:
        if wait:
            self._loop.add_writer(self._writer, self._pass_on)
        else:
            self._loop.remove_writer(self._writer)
        self._waiting = wait

    def _close(self) -> None:
        if self._writer >= 0:
            self._loop.remove_reader(self._writer)
            self._loop.remove_writer(self._writer)
            os.close(self._writer)
            self._writer = -1
            self._unwatch()
