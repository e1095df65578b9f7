"""Waiting for a thing to happen: bounded, by descriptors where the kernel has one, by looking again where it has none."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import IO, TypeVar

__all__ = ["has_ended", "line_from", "pause", "until", "wait_for_end"]

SECONDS = 30.0
_LOOK_SECONDS = 0.005

T = TypeVar("T")


def until(look: Callable[[], T], what: str, *, seconds: float = SECONDS) -> T:
    """What `look` gives, once that is true; for what no descriptor tells: a file that appears, a group that goes."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        pause(_LOOK_SECONDS)
    return found


def pause(seconds: float) -> None:
    """A random moment for a fault; nothing that a test expects may depend on it."""
    select.select([], [], [], seconds)


def wait_for_end(pid: int, *, seconds: float = SECONDS) -> None:
    """Wait until process `pid` has ended; a zombie has."""
    assert has_ended(pid, within=seconds), f"process {pid} has not ended within {seconds:.0f} s"


def has_ended(pid: int, *, within: float = 0.0) -> bool:
    """Whether the process has ended, or does so within these seconds."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], within)[0])
    finally:
        os.close(pidfd)


def line_from(stream: IO[bytes], *, seconds: float = SECONDS) -> str:
    """The next line of an unbuffered stream without its end; empty at its end."""
    line = b""
    deadline = time.monotonic() + seconds
    while not line.endswith(b"\n"):
        assert select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0], f"no line within {seconds:.0f} s"
        byte = os.read(stream.fileno(), 1)
        if not byte:
            break
        line += byte
    return line.decode(errors="replace").rstrip("\n")
