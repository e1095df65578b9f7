"""A group of one's own from systemd: a delegated scope, into which systemd moves this process.

A login session's own group belongs to root. `systemd-run --scope` would have to be the parent of this process, so the call
that it makes is made here: StartTransientUnit, see org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from lxsandbox.cgroups.limits import Lack

if TYPE_CHECKING:
    from lxsandbox.cgroups.machine import Machine

__all__ = ["move_to_scope"]

_DEADLINE_SECONDS = 5.0
_PAUSE_SECONDS = 0.01
_WITHOUT_SYSTEMD = "run the tests as root in a cgroup2 tree of their own, or under systemd"


def move_to_scope(run_name: str, machine: Machine) -> Lack | None:
    """Move this process, with all its threads, to a new delegated scope; a Lack where systemd is not there or refuses."""
    busctl = shutil.which("busctl", path=machine.environ.get("PATH"))
    if busctl is None:
        return Lack("there is no busctl to ask systemd for a scope", _WITHOUT_SYSTEMD)
    environment = dict(machine.environ)
    if machine.uid != 0:
        # Missing under su, sudo and cron; there is such a folder where the user lingers.
        folder = environment.setdefault("XDG_RUNTIME_DIR", f"/run/user/{machine.uid}")
        if not os.path.isdir(folder):
            return Lack(f"user {machine.uid} has no systemd session", f"run `loginctl enable-linger {machine.uid}`")
    before = machine.own_groups().get("")
    command = [busctl, "--user" if machine.uid != 0 else "--system", "call", *_call(run_name, machine.pid)]
    problem = _run(command, environment)
    if problem is None and not _has_moved(before, machine):
        problem = f"the scope was not there within {_DEADLINE_SECONDS:.0f} s"
    return None if problem is None else Lack(f"systemd gives no scope: {problem}", _WITHOUT_SYSTEMD)


def _call(run_name: str, pid: int) -> list[str]:
    properties = [
        *("Description", "s", "groups of a pytest-lxsandbox run"),
        *("Delegate", "b", "true"),
        *("CollectMode", "s", "inactive-or-failed"),
        *("PIDs", "au", "1", str(pid)),
    ]
    manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    start = ["StartTransientUnit", "ssa(sv)a(sa(sv))", f"lxsandbox-{run_name}-{pid}.scope", "fail"]
    return [*manager, *start, "4", *properties, "0"]


def _run(command: list[str], environment: dict[str, str]) -> str | None:
    """None, or what went wrong."""
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_DEADLINE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (
        None if done.returncode == 0 else done.stderr.decode(errors="replace").strip() or f"busctl exited with {done.returncode}"
    )


def _has_moved(before: str | None, machine: Machine) -> bool:
    """The call returns when the job is queued; the move follows, and gives no event to whom it moves."""
    until = time.monotonic() + _DEADLINE_SECONDS
    while machine.own_groups().get("") == before:
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True
