"""Where the groups of a run are in the unified tree (v2), with which controllers, and what keeps a limit from being held.

A v2 group holds processes or passes controllers on, never both. So this process moves to a leaf of its own first, and only
where nobody else is in the group: other processes are not ours to move.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from lxsandbox.cgroups.delegate import move_to_scope
from lxsandbox.cgroups.files import pids, read, write
from lxsandbox.cgroups.folders import clear, end, remove_folder, run_folder_name, subfolders
from lxsandbox.cgroups.limits import Lack, texts
from lxsandbox.cgroups.v2 import CgroupV2, Place

if TYPE_CHECKING:
    from lxsandbox.cgroups.machine import Machine
    from lxsandbox.spec import Limits

__all__ = ["TreeV2", "open_v2"]

_SERVICE_LEAF = "service"
_CONTROLLERS = {"memory": "memory", "pids": "pids", "cpu": "cpus", "io": "io", "cpuset": "cpuset"}  # and the limit of each


class TreeV2:
    """The groups of one run, below one folder."""

    kind = "v2"

    def __init__(self, place: Place, machine: Machine, *, enabled: Sequence[str]) -> None:
        self._place = place
        self._machine = machine
        self._enabled = enabled  # in the group above, by us

    @property
    def lacks(self) -> Mapping[str, str]:
        return texts(self._place.lacks)

    def create(self, name: str, limits: Limits) -> CgroupV2:
        group = CgroupV2(name, self._place, self._machine)
        try:
            group.make(limits)
        except BaseException:
            group.close()
            group.remove()
            raise
        return group

    def count(self) -> int:
        return len(self._sandboxes())

    def remove(self) -> None:
        run = self._place.folder
        end([f"{run}/{name}" for name in self._sandboxes()], self._machine, until=time.monotonic() + 5)
        if self._machine.pid in pids(f"{run}/{_SERVICE_LEAF}") and not _move_back(run, self._enabled, self._machine):
            return  # another run shares the group above: this process ends soon, and its empty leaf is swept later
        clear([run], self._machine)

    def _sandboxes(self) -> list[str]:
        return [name for name in subfolders(self._place.folder) if name != _SERVICE_LEAF]


def open_v2(run_name: str, machine: Machine) -> TreeV2 | Lack:
    """The tree, its folder made and its controllers on; a Lack where this process may not make groups.

    Tried in turn: the group it is in, a scope of its own from systemd, the root of what is mounted (a container's own root).
    """
    opened = _open_below(machine.own_folder(""), run_name, machine)
    if not isinstance(opened, Lack):
        return opened
    moved = move_to_scope(run_name, machine)
    if moved is None:
        return _open_below(machine.own_folder(""), run_name, machine)
    root = next((mount.folder for mount in machine.mounts() if mount.unified), None)
    last = _open_below(root, run_name, machine) if root != machine.own_folder("") else opened
    return Lack(f"{opened.reason}, and {moved.reason}", moved.fix) if isinstance(last, Lack) else last


def _open_below(base: str | None, run_name: str, machine: Machine) -> TreeV2 | Lack:
    if base is None:
        return Lack("cgroup2 is not mounted, or shows another part of the tree", "mount it with `mount -t cgroup2 cgroup2 …`")
    # The machine's root group has no cgroup.events, and is the one that may hold processes and pass controllers on.
    inside = pids(base) if os.path.exists(base + "/cgroup.events") else []
    if set(inside) - {machine.pid}:
        return Lack(f"other processes than the service are in {base}", _empty_it(base))
    run = f"{base}/{run_folder_name(run_name)}"
    try:
        return _open_run(run, base, machine, move=bool(inside))
    except OSError as error:
        with suppress(OSError):
            remove_folder(run, machine, until=time.monotonic())
        return Lack(f"no group can be made in {base}: {error.strerror}", "run the tests in a user session of systemd, or as root")


def _open_run(run: str, base: str, machine: Machine, *, move: bool) -> TreeV2:
    with suppress(FileExistsError):
        machine.make_folder(run)
    if move:
        with suppress(FileExistsError):
            machine.make_folder(f"{run}/{_SERVICE_LEAF}")
        write(f"{run}/{_SERVICE_LEAF}/cgroup.procs", str(machine.pid))
    before = read(base + "/cgroup.subtree_control").split()
    available = read(base + "/cgroup.controllers").split()
    refused = {name: _enable(name, (base, run), machine) for name in _CONTROLLERS if name in available}
    absent = {name: _not_passed_on(name, base, machine) for name in _CONTROLLERS if name not in available}
    missing = absent | {name: lack for name, lack in refused.items() if lack is not None}
    accounts_swap = os.path.exists(run + "/memory.swap.max")
    place = Place(
        folder=run,
        lacks=_lacks(missing, run, machine, accounts_swap=accounts_swap),
        accounts_swap=accounts_swap,
        can_kill=os.path.exists(run + "/cgroup.kill"),
        stacked_disks=machine.stacked_disks(),
    )
    return TreeV2(place, machine, enabled=[name for name, lack in refused.items() if lack is None and name not in before])


def _enable(controller: str, folders: Sequence[str], machine: Machine) -> Lack | None:
    """One at a time: one that the kernel refuses (cpu with real-time tasks, say) must not take the others with it."""
    for folder in folders:
        try:
            write(folder + "/cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            lack = _not_passed_on(controller, folder, machine)
            return Lack(f"{lack.reason} ({error.strerror})", lack.fix)
    return None


def _lacks(missing: Mapping[str, Lack], run: str, machine: Machine, *, accounts_swap: bool) -> dict[str, Lack]:
    lacks = {_CONTROLLERS[controller]: lack for controller, lack in missing.items()}
    if machine.has_swap() and not accounts_swap:
        unaccounted = Lack("the kernel does not account swap", "boot with swapaccount=1, or turn swap off by `swapoff -a`")
        lacks["swap"] = missing.get("memory", unaccounted)
    if not os.path.exists(run + "/cgroup.freeze"):
        lacks["freezer"] = Lack("cgroup.freeze came with Linux 5.2", "run the tests on a newer kernel")
    return lacks


def _not_passed_on(controller: str, folder: str, machine: Machine) -> Lack:
    reason = f"the {controller} controller is not passed on to {folder}"
    if machine.uid == 0:
        return Lack(reason, f"write +{controller} to cgroup.subtree_control of the folders above it")
    return Lack(reason, "add `Delegate=cpu cpuset io memory pids` by `sudo systemctl edit user@.service`, and log in again")


def _empty_it(base: str) -> str:
    return f"run `mkdir {base}/tests && for p in $(cat {base}/cgroup.procs); do echo $p >{base}/tests/cgroup.procs; done`"


def _move_back(run: str, enabled: Sequence[str], machine: Machine) -> bool:
    """Undo the move to a leaf: the group above takes processes again only once it passes no controller on."""
    base = os.path.dirname(run)
    try:
        for folder, controllers in ((run, read(run + "/cgroup.subtree_control").split()), (base, enabled)):
            for controller in controllers:
                write(folder + "/cgroup.subtree_control", f"-{controller}")
        write(base + "/cgroup.procs", str(machine.pid))
    except OSError:
        return False
    return True
