"""The pipes of one command: the ends that it gets, the ends that stay, and the data that goes through them."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from subprocess import DEVNULL, PIPE, STDOUT
from time import monotonic
from typing import IO

from lxsandbox.errors import SandboxError, SpecError
from lxsandbox.sandbox.clock import milliseconds_until

__all__ = ["Exchange", "Pipes", "Stream", "open_pipes"]

Stream = int | IO[bytes] | IO[str]  # PIPE, DEVNULL, STDOUT (for stderr), a descriptor, or a file object

_CHUNK_BYTES = 64 * 1024  # a pipe's capacity, pipe(7)
# What a command prints is held in this process; a hostile one must not take its memory.
_MAX_OUTPUT_BYTES = 1024**3
_DRAIN_ROUNDS = 16


@dataclass(slots=True)
class Pipes:
    """Our ends (None where there is no pipe), and `theirs`: stdin, stdout and stderr of the command."""

    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    theirs: list[int] = field(default_factory=list[int])
    opened: list[int] = field(default_factory=list[int])  # those of `theirs` that are ours to close

    def close_theirs(self) -> None:
        """Once the command has them; then end-of-file on ours is the end of the command's."""
        while self.opened:
            os.close(self.opened.pop())

    def close(self) -> None:
        self.close_theirs()
        for end in (self.stdin, self.stdout, self.stderr):
            if end is not None:
                os.close(end)
        self.stdin = self.stdout = self.stderr = None


def open_pipes(stdin: Stream, stdout: Stream, stderr: Stream) -> Pipes:
    """Pipes where PIPE is asked for, /dev/null for DEVNULL, else what was given."""
    pipes = Pipes()
    try:
        pipes.stdin = _add(pipes, stdin, writes=False)
        pipes.stdout = _add(pipes, stdout, writes=True)
        if isinstance(stderr, int) and stderr == STDOUT:
            pipes.theirs.append(pipes.theirs[1])
        else:
            pipes.stderr = _add(pipes, stderr, writes=True)
    except BaseException:
        pipes.close()
        raise
    return pipes


def _add(pipes: Pipes, stream: Stream, *, writes: bool) -> int | None:
    """Open what the command gets; our end of it, where there is one. `writes`: the command writes it."""
    if not isinstance(stream, int):
        pipes.theirs.append(stream.fileno())
        return None
    if stream >= 0:
        pipes.theirs.append(stream)
        return None
    if stream == PIPE:
        reads_end, writes_end = os.pipe2(os.O_CLOEXEC)
        ours, theirs = (reads_end, writes_end) if writes else (writes_end, reads_end)
    elif stream == DEVNULL:
        ours, theirs = None, os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    else:
        raise SpecError(f"{stream!r} is no stream", hint="use PIPE, DEVNULL, a file object or a descriptor")
    pipes.theirs.append(theirs)
    pipes.opened.append(theirs)
    return ours


class Exchange:
    """Feeds a command's stdin and collects what it prints, until all of its pipes have ended.

    `close_stdin` is called once all is written. The outputs stay open; they are their owner's.
    """

    def __init__(self, stdin: int | None, data: bytes, close_stdin: Callable[[], None], outputs: Sequence[int | None]) -> None:
        self._poll = select.poll()
        self._collected: dict[int, list[bytes]] = {fd: [] for fd in outputs if fd is not None}
        self._open = set(self._collected)
        self._bytes = 0
        for fd in self._open:
            self._poll.register(fd, select.POLLIN)
        self._stdin, self._left, self._close_stdin = stdin, memoryview(data), close_stdin
        if stdin is not None:
            os.set_blocking(stdin, False)
            self._poll.register(stdin, select.POLLOUT)
            self._write(stdin)  # most input fits the pipe at once

    def run(self, deadline: float | None) -> bool:
        """Go on until every pipe has ended; False where `deadline` came first. May be called again."""
        while self._open or self._stdin is not None:
            for fd, _ in self._poll.poll(milliseconds_until(deadline)):
                self._serve(fd)
            if deadline is not None and monotonic() >= deadline:
                return not self._open and self._stdin is None
        return True

    def drain(self) -> None:
        """Take what is in the pipes now. Bounded, since someone who writes for ever may hold them still."""
        for _ in range(_DRAIN_ROUNDS):
            ready = [fd for fd, _ in self._poll.poll(0) if fd in self._open]
            if not ready:
                return
            for fd in ready:
                self._read(fd)

    def collected(self, fd: int | None) -> bytes | None:
        """All that came from output `fd` so far; None where it is no pipe of ours."""
        return None if fd is None else b"".join(self._collected[fd])

    def _serve(self, fd: int) -> None:
        if fd == self._stdin:
            self._write(fd)
        else:
            self._read(fd)

    def _read(self, fd: int) -> None:
        try:
            data = os.read(fd, _CHUNK_BYTES)
        except OSError as error:
            if error.errno != 5:  # EIO: how a terminal's master says that its other end is closed, pty(7)
                raise
            data = b""
        if not data:
            self._poll.unregister(fd)
            self._open.discard(fd)
            return
        self._collected[fd].append(data)
        self._bytes += len(data)
        if self._bytes > _MAX_OUTPUT_BYTES:
            raise SandboxError(
                f"the command has printed over {_MAX_OUTPUT_BYTES} bytes",
                hint="write to a file inside, and use copy_out()",
            )

    def _write(self, fd: int) -> None:
        try:
            while self._left:
                self._left = self._left[os.write(fd, self._left[: 16 * _CHUNK_BYTES]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            pass  # the command does not read its stdin (to the end): as with subprocess, no error
        self._poll.unregister(fd)
        self._stdin = None
        self._close_stdin()
