"""The processes of runs under test, found by what the kernel shows of them, and the programs that make sandboxes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from events import line_from, until

import lxsandbox.spec
from lxsandbox.service.leftovers import remove_dead_runs

__all__ = ["SOURCE_ROOT", "Program", "Runs", "kill"]

SOURCE_ROOT = Path(lxsandbox.spec.__file__).resolve().parents[1]


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal; one that has ended meanwhile is no error."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


class Program:
    """A Python program in a process of its own, and the lines that it prints."""

    def __init__(self, code: str, *arguments: str) -> None:
        command = [sys.executable, "-c", code, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self.pid = self.process.pid

    def line(self, *, seconds: float = 30) -> str:
        """The next line that it prints; empty when it prints none any more."""
        return line_from(_stream(self.process.stdout), seconds=seconds)

    def go_on(self) -> None:
        """Answer the program's `input()`."""
        _stream(self.process.stdin).write(b"\n")

    def end(self, seconds: float = 60) -> tuple[int, str, str]:
        """The exit code, and what else it has printed."""
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out.decode(errors="replace"), err.decode(errors="replace")

    def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            self.process.communicate()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            _stream(stream).close()


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


class Runs:
    """All runs whose folders are below `base`."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def services(self) -> list[int]:
        mark = f"--folder\0{self.base}/".encode()
        return [pid for pid in _pids() if mark in _read(pid, "cmdline")]

    def spawners(self) -> list[int]:
        """Children of the services in their own pid namespace. A clone has its parent's command line, so that tells nothing."""
        depth = _depth(os.getpid())
        return [pid for pid in self._children() if _depth(pid) == depth and b"/spawner/" in _read(pid, "cmdline")]

    def inits(self) -> list[int]:
        depth = _depth(os.getpid())
        return [pid for pid in self._children() if _depth(pid) > depth]

    def _children(self) -> list[int]:
        services = set(self.services())
        return [pid for pid in _pids() if _parent(pid) in services]

    def folders(self) -> list[str]:
        return sorted(os.listdir(self.base))

    def wait_until_left(self) -> None:
        """Wait until all services have ended by themselves."""
        until(lambda: not self.services(), f"the end of services {self.services()}")

    def clean_up(self) -> list[str]:
        """What the next start does, and `lxsandbox gc`; then nothing may be left."""
        self.wait_until_left()
        removed: list[str] = []

        def nothing_is_left() -> bool:
            removed.extend(remove_dead_runs())  # one that was killed shows no command line before it has let go of its locks
            return self.folders() == []

        until(nothing_is_left, "the end of what the runs have left", seconds=10)
        return removed


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _read(pid: int, name: str) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields and fields[0] != b"Z" else -1


def _depth(pid: int) -> int:
    lines = [line for line in _read(pid, "status").splitlines() if line.startswith(b"NSpid:")]
    return len(lines[0].split()) if lines else 0


Start = Callable[..., Program]
