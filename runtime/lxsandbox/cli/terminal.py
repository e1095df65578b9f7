"""Joining this terminal to the master side of a sandbox's: raw mode, the window's size, and what is typed and printed."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Generator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxsandbox.sandbox.process import Process

__all__ = ["joined", "window_size"]

_BLOCK_BYTES = 65536
_END_OF_TRANSMISSION = b"\x04"  # what Ctrl-D types; a terminal has no other end-of-file
_DEFAULT_SIZE = (24, 80)


def window_size() -> tuple[int, int]:
    """Rows and columns of the terminal of stdin, or what terminals had before they had windows."""
    try:
        size = os.get_terminal_size(sys.stdin.fileno())
    except OSError:
        return _DEFAULT_SIZE
    return size.lines, size.columns


@contextlib.contextmanager
def joined(process: Process) -> Generator[None]:
    """Within, stdin goes to the terminal of `process` and what comes out of it to stdout.

    On leaving, all that was printed has been shown.
    """
    with _raw_mode(), _window_followed(process):
        stop_read, stop_write = os.pipe()
        master = process.terminal.fileno() if process.terminal else -1
        pump = threading.Thread(target=_pump_quietly, args=(master, stop_read), name="lxsandbox-terminal", daemon=True)
        pump.start()
        try:
            yield
        finally:
            os.close(stop_write)
            pump.join()
            os.close(stop_read)


@contextlib.contextmanager
def _raw_mode() -> Generator[None]:
    """Every key goes to the sandbox, Ctrl-C included; whatever happens, the terminal is as it was afterwards."""
    stdin = sys.stdin.fileno()
    if not os.isatty(stdin):
        yield
        return
    before = termios.tcgetattr(stdin)
    try:
        # TCSADRAIN, not the default TCSAFLUSH: what was typed while the sandbox started is meant for it.
        tty.setraw(stdin, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _window_followed(process: Process) -> Generator[None]:
    def resize(*_: object) -> None:
        with contextlib.suppress(OSError):  # it has just ended
            process.resize(*window_size())

    before = signal.signal(signal.SIGWINCH, resize)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _pump_quietly(master: int, stop: int) -> None:
    with contextlib.suppress(OSError):  # our own terminal has gone: a hang-up, whose signal ends the main thread
        _pump(master, stop)


def _pump(master: int, stop: int) -> None:
    """Copy both ways until the sandbox's side is closed, or until `stop` ends and nothing printed is left."""
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
    sources = [master, stdin, stop]
    while True:
        ready = select.select(sources, [], [], 0 if stop not in sources else None)[0]
        if not ready:
            return  # told to stop, and the master has nothing more
        if master in ready and not _copy(master, stdout):
            return
        if stdin in ready and not _copy(stdin, master):
            sources.remove(stdin)
            _write_all(master, _END_OF_TRANSMISSION)
        if stop in ready:
            sources = [master]


def _copy(source: int, target: int) -> bool:
    """Copy one block; False at the end of `source`."""
    try:
        block = os.read(source, _BLOCK_BYTES)
    except OSError as error:
        if error.errno == errno.EIO:  # pty(7): the last descriptor of the other side was closed
            return False
        raise
    return bool(block) and _write_all(target, block)


def _write_all(target: int, block: bytes) -> bool:
    view = memoryview(block)
    try:
        while view:
            view = view[os.write(target, view) :]
    except OSError as error:
        if error.errno not in (errno.EIO, errno.EPIPE):
            raise
        return False
    return True
