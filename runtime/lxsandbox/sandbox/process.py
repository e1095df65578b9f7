"""A command that runs in a sandbox while its caller goes on, in the shape of subprocess.Popen."""

from __future__ import annotations

import fcntl
import io
import signal as signals
import struct
import termios
from collections.abc import Mapping
from contextlib import suppress
from subprocess import PIPE, TimeoutExpired
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from lxsandbox.errors import SandboxDied, SandboxError, ServiceLost
from lxsandbox.sandbox.clock import moment_after
from lxsandbox.sandbox.commands import Args, Folder, as_text, command_fields, input_bytes
from lxsandbox.sandbox.pipes import Exchange, Pipes, Stream, open_pipes

if TYPE_CHECKING:
    from lxsandbox.sandbox.channel import CommandExit
    from lxsandbox.sandbox.control import Control

__all__ = ["Process", "start_process"]


class Process:
    """A running command; `Sandbox.popen` makes it.

    `pid` is its number inside the sandbox, `args` its arguments. `stdin`, `stdout` and `stderr` are files where a PIPE was
    asked for, else None. With a terminal, `terminal` is its raw master file and the other three are None. `returncode` is
    None until `poll` or `wait` has seen its end, then its exit code, or -N for signal N.
    """

    def __init__(self, control: Control, command: CommandExit, args: list[str], *, text: bool) -> None:
        self.args = args
        self.pid = command.pid
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        self.terminal: io.FileIO | None = None
        self._control = control
        self._command = command
        self._text = text
        self._exchange: Exchange | None = None

    @property
    def returncode(self) -> int | None:
        return self._command.status

    def poll(self) -> int | None:
        """The returncode if it has ended, else None. Raises SandboxDied where the sandbox ended before."""
        return self._control.wait_exit(self._command, 0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises TimeoutExpired after `timeout` seconds, SandboxDied where the sandbox ends before."""
        status = self._control.wait_exit(self._command, moment_after(timeout))
        if status is None:
            raise TimeoutExpired(self.args, timeout or 0.0)
        return status

    def communicate(self, input: str | bytes | None = None, timeout: float | None = None) -> tuple[Any, Any]:  # noqa: A002
        """Write `input` to stdin, collect stdout and stderr to their ends, wait; after TimeoutExpired it may be called again."""
        deadline = moment_after(timeout)
        if self._exchange is None:
            self._exchange = self._begin_exchange(input_bytes(input) or b"")
        finished = self._exchange.run(deadline) and self._control.wait_exit(self._command, deadline) is not None
        out, err = (as_text(self._exchange.collected(_number(file)), self._text) for file in (self._output, self.stderr))
        if not finished:
            raise TimeoutExpired(self.args, timeout or 0.0, output=out, stderr=err)
        self._close_files()
        return out, err

    def send_signal(self, signal: int) -> None:
        """Send it `signal`; nothing is done where it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                self._control.request("signal", pid=self.pid, signal=int(signal))

    def terminate(self) -> None:
        self.send_signal(signals.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signals.SIGKILL)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal; the foreground programs in it get SIGWINCH."""
        if self.terminal is None:
            raise SandboxError("this process has no terminal", hint="start it with popen(…, pty=True)")
        fcntl.ioctl(self.terminal.fileno(), termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close its files and wait for it, as subprocess.Popen does. A sandbox that has died has ended it."""
        self._close_files()
        with suppress(SandboxDied, ServiceLost):
            self.wait()

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else f"ended with {self.returncode}"
        return f"<Process {self.pid} {self.args!r} in sandbox {self._control.name}: {state}>"

    @property
    def _output(self) -> IO[Any] | None:
        return self.stdout if self.terminal is None else self.terminal

    def _begin_exchange(self, data: bytes) -> Exchange:
        stdin = self.stdin
        if stdin is not None and not stdin.closed:
            with suppress(BrokenPipeError):
                stdin.flush()
            return Exchange(stdin.fileno(), data, stdin.close, (_number(self._output), _number(self.stderr)))
        if data and self.terminal is not None:
            self.terminal.write(data)
        return Exchange(None, b"", _nothing, (_number(self._output), _number(self.stderr)))

    def _close_files(self) -> None:
        for file in (self.stdin, self.stdout, self.stderr, self.terminal):
            if file is not None:
                with suppress(BrokenPipeError):
                    file.close()


def start_process(
    control: Control,
    args: Args,
    *,
    stdin: Stream = PIPE,
    stdout: Stream = PIPE,
    stderr: Stream = PIPE,
    text: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: Folder | None = None,
    user: str | int | None = None,
    pty: bool = False,
) -> Process:
    """Start `args` in the sandbox behind `control`, and return at once. Raises as `Sandbox.popen` does."""
    fields = command_fields(args, env=env, cwd=cwd, user=user, pty=pty)
    if pty:
        command, fds = control.execute((), **fields)
        process = Process(control, command, fields["args"], text=text)
        process.terminal = io.FileIO(fds[0], "r+")
        return process
    pipes = open_pipes(stdin, stdout, stderr)
    try:
        command, _ = control.execute(pipes.theirs, **fields)
        pipes.close_theirs()
        process = Process(control, command, fields["args"], text=text)
        _give_files(process, pipes, text=text)
        return process
    finally:
        pipes.close()


def _give_files(process: Process, pipes: Pipes, *, text: bool) -> None:
    if pipes.stdin is not None:
        process.stdin = _open(pipes.stdin, "w", text=text)
        pipes.stdin = None
    if pipes.stdout is not None:
        process.stdout = _open(pipes.stdout, "r", text=text)
        pipes.stdout = None
    if pipes.stderr is not None:
        process.stderr = _open(pipes.stderr, "r", text=text)
        pipes.stderr = None


def _open(fd: int, mode: str, *, text: bool) -> IO[Any]:
    if not text:
        return open(fd, mode + "b")
    # A line that is written goes out at once: whoever talks with a program line by line need not flush.
    return open(fd, mode, buffering=1, encoding="utf-8", errors="replace" if mode == "r" else "strict")


def _number(file: IO[Any] | None) -> int | None:
    return None if file is None or file.closed else file.fileno()


def _nothing() -> None:
    """There is no stdin to close."""
