"""Reading and writing the interface files of control groups; what is in which file is decided elsewhere."""

from __future__ import annotations

import errno
import os
import select
import time

__all__ = ["number", "pairs", "pids", "pressure", "read", "wait_for_event", "write"]

_CHUNK = 1 << 16


def write(path: str, text: str) -> None:
    """One value in one write(2), as the kernel wants it. Raises OSError; FileNotFoundError where the file is unknown."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def read(path: str) -> str:
    """The whole text. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, _CHUNK)
        while more := os.read(descriptor, _CHUNK):
            data += more
    finally:
        os.close(descriptor)
    return data.decode()


def number(path: str) -> int | None:
    """The number in a file of one value; None where there is no such file, or it says `max`."""
    try:
        text = read(path).strip()
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() else None


def pairs(path: str) -> dict[str, int]:
    """The numbers of a file of `key value` lines; empty where there is no such file."""
    try:
        lines = read(path).splitlines()
    except FileNotFoundError:
        return {}
    return {words[0]: int(words[1]) for line in lines if len(words := line.split()) == 2 and words[1].isdigit()}


def pids(folder: str) -> list[int]:
    """The processes of the group `folder` itself. A pid of 0 is in a pid namespace out of sight: nobody we could signal."""
    try:
        text = read(folder + "/cgroup.procs")
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):  # ENODEV: removed while open
            raise
        return []
    return [int(word) for word in text.split() if word != "0"]


def pressure(folder: str) -> dict[str, float] | None:
    """`some avg10` of the group's pressure files; None where the kernel has none, or PSI is off (EOPNOTSUPP)."""
    found: dict[str, float] = {}
    for name in ("memory", "cpu", "io"):
        try:
            first = read(f"{folder}/{name}.pressure").split(maxsplit=2)
        except OSError:
            continue
        found[name] = float(first[1].removeprefix("avg10="))
    return found or None


def wait_for_event(folder: str, key: str, value: int, *, until: float) -> bool:
    """Wait until `cgroup.events` of `folder` has `key value`; False when it has not by `until` (time.monotonic).

    A group that has been removed meanwhile is empty, and counts as having got there.
    """
    try:
        descriptor = os.open(folder + "/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    line = f"{key} {value}\n".encode()
    poll = select.poll()
    poll.register(descriptor, select.POLLPRI)
    # The kernel holds an event back until 10 ms after the one before (CGROUP_FILE_NOTIFY_MIN_INTV): at first, look sooner.
    wait_seconds = 0.001
    try:
        while line not in os.pread(descriptor, 4096, 0):
            left = until - time.monotonic()
            if left <= 0:
                return False
            poll.poll(min(left, wait_seconds) * 1000)
            wait_seconds *= 2
        return True
    except OSError:  # ENODEV
        return True
    finally:
        os.close(descriptor)
