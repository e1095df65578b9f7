"""Where the groups of a run are on a v1 or hybrid host, and which of the limits can be held there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lxsandbox.cgroups.files import read, write
from lxsandbox.cgroups.folders import clear, run_folder_name, subfolders
from lxsandbox.cgroups.limits import Lack, texts
from lxsandbox.cgroups.v1 import CgroupV1, Places

if TYPE_CHECKING:
    from lxsandbox.cgroups.machine import Machine
    from lxsandbox.spec import Limits

__all__ = ["TreeV1", "open_v1"]

_CONTROLLERS = {  # and the limits that each holds
    "memory": ("memory", "swap"),
    "pids": ("pids",),
    "cpu": ("cpus",),
    "cpuacct": (),
    "blkio": ("io",),
    "cpuset": ("cpuset",),
    "freezer": ("freezer",),
}
_SERVED_BY_LEAF = ("cpuacct", "freezer")  # every group of cgroup2 has cpu.stat, and since Linux 5.2 cgroup.freeze


class TreeV1:
    """The groups of one run, below this process's own group in each hierarchy."""

    def __init__(self, places: Places, machine: Machine) -> None:
        self._places = places
        self._machine = machine

    @property
    def kind(self) -> str:
        return "v1" if self._places.unified is None else "hybrid"

    @property
    def lacks(self) -> Mapping[str, str]:
        return texts(self._places.lacks)

    def create(self, name: str, limits: Limits) -> CgroupV1:
        group = CgroupV1(name, self._places, self._machine)
        try:
            group.make(limits)
        except BaseException:
            group.close()
            group.remove()
            raise
        return group

    def count(self) -> int:
        return len({name for folder in self._folders() for name in subfolders(folder)})

    def remove(self) -> None:
        clear(self._folders(), self._machine)

    def _folders(self) -> list[str]:
        unified = [] if self._places.unified is None else [self._places.unified]
        return list(dict.fromkeys([*unified, *self._places.controllers.values()]))


def open_v1(run_name: str, machine: Machine) -> TreeV1 | Lack:
    """The tree, its folders made; a Lack where this process may not make groups in any of the hierarchies."""
    name = run_folder_name(run_name)
    unified = _open_folder("", name, machine)
    leaf = unified if isinstance(unified, str) and os.path.exists(unified + "/cgroup.freeze") else None
    wanted = [controller for controller in _CONTROLLERS if leaf is None or controller not in _SERVED_BY_LEAF]
    opened = {controller: _open_folder(controller, name, machine) for controller in wanted}
    folders = {controller: folder for controller, folder in opened.items() if isinstance(folder, str)}
    missing = {controller: lack for controller, lack in opened.items() if isinstance(lack, Lack)}
    lacks = {limit: lack for controller, lack in missing.items() for limit in _CONTROLLERS[controller]}
    if leaf is None and isinstance(unified, str):
        clear([unified], machine)
    if not folders.keys() - {"cpuset"}:
        clear([folder for folder in (leaf, *folders.values()) if folder], machine)
        return missing["memory"]
    if "cpuset" in folders:
        _inherit_cpuset(folders["cpuset"])
    accounts_swap = os.path.exists(folders.get("memory", "") + "/memory.memsw.limit_in_bytes")
    lacks |= _swap_lack(accounts_swap=accounts_swap, machine=machine)
    if not machine.has_swap():
        lacks.pop("swap", None)  # none is used whatever is asked
    places = Places(
        controllers=folders,
        unified=leaf,
        can_kill=leaf is not None and os.path.exists(leaf + "/cgroup.kill"),
        lacks=lacks,
        accounts_swap=accounts_swap,
        has_swap=machine.has_swap(),
        stacked_disks=machine.stacked_disks(),
    )
    return TreeV1(places, machine)


def _open_folder(controller: str, name: str, machine: Machine) -> str | Lack:
    """The run's folder in one hierarchy, made unless it is there. Whether one may is found out by doing it."""
    own = machine.own_folder(controller)
    if own is None:
        what = f"the {controller} controller of cgroup v1" if controller else "cgroup2"
        return Lack(f"{what} is not mounted, or shows another part of the tree", "boot with systemd.unified_cgroup_hierarchy=1")
    try:
        machine.make_folder(f"{own}/{name}")
    except FileExistsError:
        pass
    except OSError as error:
        fix = "run the tests as root, or boot with systemd.unified_cgroup_hierarchy=1 (a user may have groups in cgroup v2 only)"
        return Lack(f"no group can be made in {own}: {error.strerror}", fix)
    return f"{own}/{name}"


def _inherit_cpuset(folder: str) -> None:
    above = os.path.dirname(folder)
    for what in ("mems", "cpus"):
        effective = f"{above}/cpuset.effective_{what}"
        write(f"{folder}/cpuset.{what}", read(effective if os.path.exists(effective) else f"{above}/cpuset.{what}").strip())


def _swap_lack(*, accounts_swap: bool, machine: Machine) -> dict[str, Lack]:
    if accounts_swap or not machine.has_swap():
        return {}
    return {"swap": Lack("the kernel does not account swap", "boot with swapaccount=1, or turn swap off by `swapoff -a`")}
