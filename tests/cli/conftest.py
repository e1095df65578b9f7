"""The command line as a user starts it: a program of its own, with run folders of its own, on pipes or on a terminal."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import lxsandbox.cli
from lxsandbox.sandbox.sandbox import Sandbox

SOURCE_ROOT = Path(lxsandbox.cli.__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "lxsandbox.cli")
SECONDS = 60

Completed = subprocess.CompletedProcess[str]


@pytest.fixture
def run_folders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where all runs of the test are; not `tmp_path`, which is too long for the name of a socket (unix(7): 108 bytes)."""
    with tempfile.TemporaryDirectory(prefix="lx-") as folder:
        monkeypatch.setenv("LXSANDBOX_RUNTIME_DIR", folder)
        monkeypatch.setenv("PYTHONPATH", str(SOURCE_ROOT))
        yield Path(folder)
        _wait_for_services(folder)


def _wait_for_services(folder: str) -> None:
    """A service ends by itself once its clients have gone; its folder must be there until then."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            service = os.pidfd_open(int(pid))
        except ProcessLookupError:
            continue
        with os.fdopen(service), suppress(OSError):
            if f"--folder\0{folder}/".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                assert select.select([service], [], [], SECONDS)[0], f"the service with pid {pid} does not end"


@pytest.fixture
def lxsandbox_command(run_folders: Path) -> Callable[..., Completed]:
    """Run `lxsandbox` with these arguments to its end."""

    def lxsandbox_command(*arguments: str, prefix: tuple[str, ...] = (), **options: Any) -> Completed:
        command = [*prefix, *COMMAND, *arguments]
        done: Completed = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, **options)
        assert "Traceback" not in done.stderr
        return done

    return lxsandbox_command


@pytest.fixture
def lxsandbox_process(run_folders: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `lxsandbox` with these arguments; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []
    # Under nohup(1) SIGHUP is ignored, and so it would be in what is started here.
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def lxsandbox_process(*arguments: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        started.append(subprocess.Popen([*COMMAND, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield lxsandbox_process
    signal.signal(signal.SIGHUP, hangup)
    for process in started:
        process.kill()
        process.communicate()


class Terminal:
    """A terminal with `lxsandbox` in it, and the person before it."""

    def __init__(self, *arguments: str) -> None:
        self._master, self._slave = os.openpty()
        self.settings_before = termios.tcgetattr(self._slave)
        self.resize(30, 100)
        self.shown = ""
        self.process = subprocess.Popen([*COMMAND, *arguments], stdin=self._slave, stdout=self._slave, stderr=self._slave)

    @property
    def settings(self) -> list[Any]:
        return termios.tcgetattr(self._slave)

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self._slave, (rows, columns))

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, text: str) -> None:
        """Wait until `text` is shown; it counts once."""
        while text not in self.shown:
            assert select.select([self._master], [], [], SECONDS)[0], f"no {text!r} in {self.shown!r}"
            self.shown += os.read(self._master, 65536).decode()
        self.shown = self.shown.partition(text)[2]

    def wait(self) -> int:
        """The exit code. What is printed meanwhile is read, since a full terminal would stop who prints."""
        ended = os.pidfd_open(self.process.pid)
        while not select.select([ended], [], [], 0)[0]:
            if self._master in select.select([ended, self._master], [], [], SECONDS)[0]:
                self.shown += os.read(self._master, 65536).decode()
        os.close(ended)
        while select.select([self._master], [], [], 0)[0]:
            self.shown += os.read(self._master, 65536).decode()
        return self.process.wait(SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
def terminal(run_folders: Path) -> Iterator[Callable[..., Terminal]]:
    """Start `lxsandbox` with these arguments in a terminal of 30 rows and 100 columns."""
    opened: list[Terminal] = []

    def terminal(*arguments: str) -> Terminal:
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield terminal
    for each in opened:
        each.close()


@pytest.fixture
def running(run_folders: Path) -> Iterator[Sandbox]:
    """A sandbox of this process, with a main command that has printed a line."""
    with Sandbox(
        "host", name="busy", labels={"of": "the suite"}, command=["sh", "-c", "echo I have begun; exec sleep 1000"]
    ) as sandbox:
        yield sandbox
