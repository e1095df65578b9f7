"""Pipes for splice(2), which moves what one socket has to another without a copy: few, each in use only while it holds data."""

import fcntl
import os

__all__ = ["PIPE_BYTES", "Pipe", "Pipes"]

PIPE_BYTES = 1 << 20  # the most that anybody may ask for, see pipe(7)
_MOST = 16  # of one user, all pipes together may hold 64 MiB before they shrink (pipe-user-pages-soft)


class Pipe:
    """Both ends, and how much is in it."""

    __slots__ = ("count", "reader", "writer")

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.count = 0
        try:
            fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            pass  # it holds 64 KiB, and works

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


class Pipes:
    """All of them, lent out to whoever has much to move."""

    def __init__(self) -> None:
        self._idle: list[Pipe] = []
        self._count = 0

    def take(self) -> Pipe | None:
        """An empty one; None where there are enough already, or no descriptors: then one copies."""
        if self._idle:
            return self._idle.pop()
        if self._count >= _MOST:
            return None
        try:
            pipe = Pipe()
        except OSError:
            return None
        self._count += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Of one that still holds something, that is thrown away, and it with it."""
        if pipe.count:
            pipe.close()
            self._count -= 1
        else:
            self._idle.append(pipe)
