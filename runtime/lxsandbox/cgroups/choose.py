"""The one place that chooses between the kinds of control groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxsandbox.cgroups.folders import clear, find
from lxsandbox.cgroups.limits import Lack
from lxsandbox.cgroups.machine import Machine
from lxsandbox.cgroups.none import TreeNone
from lxsandbox.cgroups.v1_tree import open_v1
from lxsandbox.cgroups.v2_tree import open_v2

if TYPE_CHECKING:
    from lxsandbox.cgroups.protocol import CgroupTree

__all__ = ["open_tree", "remove_leftovers"]

_V1_MARKS = frozenset({"memory", "pids", "cpu"})  # a controller is in one version only, on the whole machine


def open_tree(run_name: str, machine: Machine | None = None) -> CgroupTree:
    """The tree of this host for a run, ready for `create`; kind `none` where no group can be made, `lacks` says why.

    On v2 this process may be moved to a leaf: open the tree before other processes are started, so that they are born there.
    """
    machine = machine or Machine()
    v1 = any(mount.controllers & _V1_MARKS for mount in machine.mounts())
    tree = open_v1(run_name, machine) if v1 else open_v2(run_name, machine)
    return TreeNone(tree, machine) if isinstance(tree, Lack) else tree


def remove_leftovers(run_name: str, machine: Machine | None = None, *, deadline_seconds: float = 5.0) -> None:
    """Kill and remove what a dead run left, wherever its groups were. SandboxError when some of it stays."""
    machine = machine or Machine()
    clear(find(run_name, machine), machine, deadline_seconds=deadline_seconds)
