"""Removing what dead runs have left: empty groups, scratch folders, run folders."""

from __future__ import annotations

import os
import select
import time

from lxsandbox.cgroups import remove_leftovers
from lxsandbox.errors import SandboxError
from lxsandbox.service.run_folder import dead_runs, let_go, remove_run_folder

__all__ = ["leave_run", "remove_dead_runs"]

_PAUSE_SECONDS = 0.005


def remove_dead_runs() -> list[str]:
    """Remove everything of every run that no process holds any more, and return the names of those runs.

    Raises SandboxError naming what could not be removed, after having tried all.
    """
    removed: list[str] = []
    problems: list[str] = []
    for folder in dead_runs():
        try:
            if _remove(folder):
                removed.append(os.path.basename(folder))
        except (OSError, SandboxError) as error:
            problems.append(f"{folder}: {error}")
    if problems:
        raise SandboxError("some leftovers stay: " + "; ".join(problems), hint="remove them as root")
    return removed


def _remove(folder: str) -> bool:
    remove_leftovers(os.path.basename(folder))
    return remove_run_folder(folder)


def leave_run(folder: str, *, patience_seconds: float = 0.0) -> None:
    """Let go of a run; whoever is the last to do so removes it. What stays is found by the next start.

    With `patience_seconds`, others get that long to let go: the kernel closes the descriptors of a process that was killed one
    by one, and the socket that told of its end may come before the lock.
    """
    let_go(folder)
    until = time.monotonic() + patience_seconds
    try:
        while folder not in dead_runs():
            if not os.path.isdir(folder) or time.monotonic() >= until:
                return
            select.select([], [], [], _PAUSE_SECONDS)  # flock(2) has no wait with a bound
        _remove(folder)
    except (OSError, SandboxError):
        return  # said by the next `remove_dead_runs`, which is not in a hurry
