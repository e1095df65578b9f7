"""The group of one sandbox with v1 controllers: a folder in each hierarchy; on hybrid hosts also a leaf of the unified tree.

The unified leaf gives what v1 has not: a clone straight into it, a freezer and a kill without races, pressure; and the cpu time.
Where it is used, the v1 freezer and cpuacct are not. Where the folders are is decided in `v1_tree`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lxsandbox.cgroups.files import number, pairs, pressure, read, write
from lxsandbox.cgroups.folders import make_folder, remove_folder
from lxsandbox.cgroups.limits import UNBOUNDED, Lack, apply, refuse_unheld, unsupported
from lxsandbox.cgroups.processes import FreezerProcesses, UnifiedProcesses
from lxsandbox.cgroups.protocol import Counters, ProcessGroup
from lxsandbox.cgroups.v1_limits import HostFacts, plan
from lxsandbox.errors import SandboxError

if TYPE_CHECKING:
    from lxsandbox.cgroups.machine import Machine
    from lxsandbox.spec import Limits

__all__ = ["CgroupV1", "Places"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """The run's folder for each v1 controller and in the unified tree (hybrid only), and what was found out about them."""

    controllers: Mapping[str, str]
    unified: str | None = None
    can_kill: bool = False
    lacks: Mapping[str, Lack]
    accounts_swap: bool
    has_swap: bool
    stacked_disks: frozenset[str]


class CgroupV1:
    """One sandbox's folders in all hierarchies."""

    def __init__(self, name: str, places: Places, machine: Machine) -> None:
        self._name = name
        self._places = places
        self._machine = machine
        runs = places.controllers
        shared = [run for controller, run in runs.items() if controller != "cpuset"]
        # cpuset costs an attach more and is rarely asked for: joined when it is, or when it shares a hierarchy.
        self._folders = {key: f"{run}/{name}" for key, run in runs.items() if key != "cpuset" or run in shared}
        self._distinct = list(dict.fromkeys(self._folders.values()))
        self._leaf = None if places.unified is None else f"{places.unified}/{name}"
        self._processes = self._choose_processes()
        self._made: list[str] = []
        self._held = UNBOUNDED
        self._into_fd: int | None = None

    @property
    def into_fd(self) -> int | None:
        return self._into_fd

    def make(self, limits: Limits) -> None:
        """Make the folders and write the limits. Leaves what it made to `remove` when it raises."""
        refuse_unheld(limits, self._places.lacks)
        for folder in self._distinct:
            self._make_folder(folder)
        if self._leaf is not None:
            self._make_folder(self._leaf)
            self._into_fd = os.open(self._leaf, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if "cpuset" in self._folders:
            self._inherit_cpuset()
        self._change(limits)

    def attach(self, pid: int, *, cloned_into: bool = True) -> None:
        text = str(pid)
        for folder in self._distinct:
            write(folder + "/cgroup.procs", text)
        if self._leaf is not None and not cloned_into:
            write(self._leaf + "/cgroup.procs", text)

    def update(self, limits: Limits) -> None:
        refuse_unheld(limits, self._places.lacks)
        before = self._held
        try:
            self._change(limits)
        except SandboxError:
            with suppress(SandboxError):
                apply(plan(before, limits, self._facts(before, limits)), self._folders)
            raise

    def members(self) -> list[int]:
        return self._processes.members()

    def freeze(self, *, deadline_seconds: float = 5.0) -> None:
        self._refuse_without_freezer()
        self._processes.freeze(deadline_seconds=deadline_seconds)

    def thaw(self) -> None:
        self._refuse_without_freezer()
        self._processes.thaw()

    def kill_all(self, *, deadline_seconds: float = 5.0) -> None:
        self._processes.kill_all(deadline_seconds=deadline_seconds)

    def counters(self) -> Counters:
        memory, cpu, pids = (self._folders.get(name, "") for name in ("memory", "cpu", "pids"))
        throttled = pairs(cpu + "/cpu.stat").get("throttled_time")
        read_bytes, written_bytes = self._io_bytes()
        return Counters(
            memory_bytes=number(memory + "/memory.usage_in_bytes"),
            memory_peak_bytes=number(memory + "/memory.max_usage_in_bytes"),
            cpu_seconds=self._cpu_seconds(),
            cpu_throttled_seconds=None if throttled is None else throttled / 1e9,
            pids=number(pids + "/pids.current"),
            pids_peak=number(pids + "/pids.peak"),
            io_read_bytes=read_bytes,
            io_write_bytes=written_bytes,
            oom_kills=pairs(memory + "/memory.oom_control").get("oom_kill"),
            pressure=None if self._leaf is None else pressure(self._leaf),
        )

    def remove(self, *, deadline_seconds: float = 5.0) -> None:
        until = time.monotonic() + deadline_seconds
        # Backwards: the unified leaf goes early, and it is the one that tells when the last process has gone.
        for folder in reversed(self._made):
            remove_folder(folder, self._machine, until=until)

    def close(self) -> None:
        descriptor, self._into_fd = self._into_fd, None
        if descriptor is not None:
            os.close(descriptor)

    def _make_folder(self, folder: str) -> None:
        make_folder(folder, self._machine)
        self._made.append(folder)

    def _choose_processes(self) -> ProcessGroup:
        if self._leaf is not None:
            return UnifiedProcesses(self._leaf, self._machine, can_kill=self._places.can_kill)
        freezer = self._folders.get("freezer")
        return FreezerProcesses(freezer or self._distinct[0], self._machine, can_freeze=freezer is not None)

    def _refuse_without_freezer(self) -> None:
        lack = self._places.lacks.get("freezer")
        if lack is not None:
            raise unsupported("freezer", lack)

    def _change(self, limits: Limits) -> None:
        if limits.cpuset is not None and "cpuset" not in self._folders:
            self._join_cpuset()
        apply(plan(limits, self._held, self._facts(limits, self._held)), self._folders)
        self._held = limits

    def _facts(self, new: Limits, old: Limits) -> HostFacts:
        return HostFacts(
            accounts_swap=self._places.accounts_swap,
            has_swap=self._places.has_swap,
            disks=() if new.io_bytes_per_second == old.io_bytes_per_second else tuple(self._machine.disks()),
            all_cpus="" if new.cpuset == old.cpuset else self._run_cpuset("cpus"),
        )

    def _join_cpuset(self) -> None:
        folder = f"{self._places.controllers['cpuset']}/{self._name}"
        self._make_folder(folder)
        self._folders["cpuset"] = folder
        self._distinct.append(folder)
        self._inherit_cpuset()
        moved: set[int] = set()
        while late := set(self.members()) - moved:  # a fork before its parent was moved is seen in the next round
            for pid in late:
                with suppress(ProcessLookupError):
                    write(folder + "/cgroup.procs", str(pid))
            moved |= late

    def _inherit_cpuset(self) -> None:
        # Both must be written before the first attach: it is ENOSPC otherwise, see cpuset(7).
        for what in ("mems", "cpus"):
            write(f"{self._folders['cpuset']}/cpuset.{what}", self._run_cpuset(what))

    def _run_cpuset(self, what: str) -> str:
        return read(f"{self._places.controllers['cpuset']}/cpuset.{what}").strip()

    def _cpu_seconds(self) -> float | None:
        if self._leaf is not None:
            micros = pairs(self._leaf + "/cpu.stat").get("usage_usec")
            return None if micros is None else micros / 1e6
        nanos = number(self._folders.get("cpuacct", "") + "/cpuacct.usage")
        return None if nanos is None else nanos / 1e9

    def _io_bytes(self) -> tuple[int | None, int | None]:
        """Bytes read and written on the disks themselves; lines are `major:minor Read bytes`, and totals that have no disk."""
        if "blkio" not in self._folders:
            return None, None
        totals = {"Read": 0, "Write": 0}
        for line in read(self._folders["blkio"] + "/blkio.throttle.io_service_bytes").splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in totals and words[0] not in self._places.stacked_disks:
                totals[words[1]] += int(words[2])
        return totals["Read"], totals["Write"]
