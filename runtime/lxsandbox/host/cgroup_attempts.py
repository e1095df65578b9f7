"""Attempts on cgroups: each limit set for real on a group of this process's own tree, and being born in a group."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Generator
from typing import Any

from lxsandbox.cgroups import Cgroup, CgroupTree, open_tree
from lxsandbox.errors import SandboxError
from lxsandbox.host.capability import CGROUP_LIMITS
from lxsandbox.host.lack import Lack
from lxsandbox.spec import Limits
from lxsandbox.syscalls import clone

__all__ = ["CGROUP_ATTEMPTS"]

_MIB = 2**20
# Limit -> limits that hold it and little else; small ones, as the group stays empty. The freezer needs none.
_TRIED = {
    "memory": Limits(memory_bytes=64 * _MIB, swap_bytes=None),
    "swap": Limits(memory_bytes=64 * _MIB, swap_bytes=0),  # v1 bounds memory and swap in one figure
    "pids": Limits(pids=64, swap_bytes=None),
    "cpus": Limits(cpus=0.5, swap_bytes=None),
    "io": Limits(io_bytes_per_second=_MIB, swap_bytes=None),
    "cpuset": Limits(cpuset=(min(os.sched_getaffinity(0)),), swap_bytes=None),
    "freezer": Limits(swap_bytes=None),
}


@contextlib.contextmanager
def _group(tree: CgroupTree, name: str, limits: Limits) -> Generator[Cgroup]:
    group = tree.create(name, limits)
    try:
        yield group
    finally:
        group.remove()
        group.close()


def _all_cgroups(_scratch: str) -> dict[str, dict[str, Any]]:
    """In one tree and one process: on v2 that process is moved, and two of them would be in each other's way."""
    tree = open_tree(f"doctor-{os.getpid()}")
    try:
        answers = {name: _limit_answer(tree, limit) for name, limit in CGROUP_LIMITS.items()}
        return {**answers, "clone-into-cgroup": _clone_answer(tree)}
    finally:
        tree.remove()


def _limit_answer(tree: CgroupTree, limit: str) -> dict[str, Any]:
    if limit in tree.lacks:
        return _lack_of(tree, tree.lacks[limit]).as_json()
    if limit == "swap" and "memory" in tree.lacks:
        return {"detail": "this machine has no swap"}
    try:
        with _group(tree, f"probe-{limit}", _TRIED[limit]) as group:
            if limit == "freezer":
                group.freeze()
                group.thaw()
    except (OSError, SandboxError) as error:
        return Lack("unknown", str(error)).as_json()
    return {"detail": f"set on a group of its own (cgroup {tree.kind})"}


def _lack_of(tree: CgroupTree, text: str) -> Lack:
    """`lacks` gives the reason and the fix in one text."""
    reason, _, fix = text.partition("; ")
    return Lack("cgroup-unheld", f"{reason} (cgroup {tree.kind})", fix=fix)


def _clone_answer(tree: CgroupTree) -> dict[str, Any]:
    try:
        with _group(tree, "probe-clone", Limits(swap_bytes=None)) as group:
            return _clone_into(tree, group)
    except Lack as lack:
        return lack.as_json()
    except (OSError, SandboxError) as error:
        return Lack("unknown", str(error)).as_json()


def _clone_into(tree: CgroupTree, group: Cgroup) -> dict[str, Any]:
    if group.into_fd is None:
        raise Lack("clone-into-cgroup-v1", f"no cgroup v2 tree that this process may use (cgroup {tree.kind})")
    try:
        pid, pidfd = clone.clone3(0, exit_signal=signal.SIGCHLD, cgroup_fd=group.into_fd)
    except OSError as error:
        raise Lack("clone-into-cgroup-kernel", str(error.strerror)) from error
    while pid == 0:
        signal.pause()
    born_there = pid in group.members()
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    if not born_there:
        raise Lack("clone-into-cgroup-kernel", "a process made with CLONE_INTO_CGROUP was not in the group")
    return {"detail": f"a process was made inside a group (cgroup {tree.kind})"}


# The capabilities that an attempt answers for -> the attempt.
CGROUP_ATTEMPTS = {(*CGROUP_LIMITS, "clone-into-cgroup"): _all_cgroups}
