"""The folders of groups: removed within a bound, and found again after the run that made them has died."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from lxsandbox.cgroups.files import pids, wait_for_event, write
from lxsandbox.cgroups.processes import FreezerProcesses, UnifiedProcesses, stuck
from lxsandbox.errors import SandboxError

if TYPE_CHECKING:
    from lxsandbox.cgroups.machine import Machine

__all__ = ["clear", "end", "find", "make_folder", "remove_folder", "run_folder_name", "subfolders"]

_PAUSE_SECONDS = 0.002
_BUSY = (errno.EBUSY, errno.ENOTEMPTY)


def run_folder_name(run_name: str) -> str:
    """The name of the folder that holds the groups of one run. ValueError for a name that is not one plain part of a path."""
    if not run_name or "/" in run_name or "\0" in run_name:
        raise ValueError(f"{run_name!r} cannot name a folder")
    return f"lxsandbox-{run_name}"


def make_folder(path: str, machine: Machine) -> None:
    """A new group. SandboxError when the kernel refuses it, a group of that name included."""
    try:
        machine.make_folder(path)
    except OSError as error:
        hint = "more groups than cgroup.max.descendants of a folder above allows, or a name in use, see cgroups(7)"
        raise SandboxError(f"no group can be made at {path}: {error.strerror}", hint=hint) from error


def remove_folder(path: str, machine: Machine, *, until: float) -> None:
    """Remove a group that nothing should be in any more, and those below it; fine when it is gone.

    The kernel says EBUSY for a while after the last process has ended: tried until `until` (time.monotonic), then SandboxError.
    """
    while True:
        try:
            os.rmdir(path)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _BUSY:
                raise
        for below in subfolders(path):
            remove_folder(f"{path}/{below}", machine, until=until)
        if time.monotonic() > until:
            raise stuck(path, "cannot be removed", pids(path), machine)
        if os.path.exists(path + "/cgroup.events"):
            wait_for_event(path, "populated", 0, until=until)
        time.sleep(_PAUSE_SECONDS)


def clear(folders: Iterable[str], machine: Machine, *, deadline_seconds: float = 5.0) -> None:
    """Kill all that is in the groups below these folders, this process excepted, and remove the folders.

    Raises SandboxError when something is left, after it has done what it can for all of them.
    """
    until = time.monotonic() + deadline_seconds
    known = [folder for folder in folders if os.path.isdir(folder)]
    left = end([f"{folder}/{name}" for folder in known for name in subfolders(folder)], machine, until=until)
    left += _remove_all(known, machine, until=until)
    if left:
        raise SandboxError("groups are left: " + "; ".join(left), hint="run `lxsandbox gc` once these processes have ended")


def end(groups: Sequence[str], machine: Machine, *, until: float) -> list[str]:
    """Kill what is in the groups and remove them; what could not be, as text."""
    left: list[str] = []
    for group in groups:
        _thaw(group)
    for group in groups:
        try:
            _kill(group, machine, until=until)
        except (SandboxError, PermissionError) as error:
            left.append(str(error))
    return left + _remove_all(groups, machine, until=until)


def find(run_name: str, machine: Machine) -> list[str]:
    """The folders of a run in all hierarchies, wherever in them the service was; the unified ones first: they kill at once."""
    name = run_folder_name(run_name)
    mounts = sorted(machine.mounts(), key=lambda mount: (not mount.unified, "freezer" not in mount.controllers))
    return list(dict.fromkeys(folder for mount in mounts for folder in _walk(mount.folder, name)))


def subfolders(path: str) -> list[str]:
    """The names of the groups right below one; none when it is gone."""
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _walk(folder: str, name: str) -> Iterator[str]:
    for below in subfolders(folder):
        if below == name:
            yield f"{folder}/{below}"
        elif not below.startswith("lxsandbox-"):
            yield from _walk(f"{folder}/{below}", name)


def _remove_all(folders: Iterable[str], machine: Machine, *, until: float) -> list[str]:
    left: list[str] = []
    for folder in folders:
        try:
            remove_folder(folder, machine, until=until)
        except (SandboxError, PermissionError) as error:
            left.append(str(error))
    return left


def _thaw(group: str) -> None:
    for file, value in (("cgroup.freeze", "0"), ("freezer.state", "THAWED")):
        with suppress(OSError):
            write(f"{group}/{file}", value)


def _kill(group: str, machine: Machine, *, until: float) -> None:
    members = pids(group)
    if not members or machine.pid in members:
        return
    seconds = max(0.0, until - time.monotonic())
    if os.path.exists(group + "/cgroup.events"):
        can_kill = os.path.exists(group + "/cgroup.kill")
        UnifiedProcesses(group, machine, can_kill=can_kill).kill_all(deadline_seconds=seconds)
    else:
        can_freeze = os.path.exists(group + "/freezer.state")
        FreezerProcesses(group, machine, can_freeze=can_freeze).kill_all(deadline_seconds=seconds)
