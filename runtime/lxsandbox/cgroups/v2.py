"""The group of one sandbox in the unified tree (v2). Where it is, and which controllers it has, is decided in `v2_tree`."""

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
from lxsandbox.cgroups.processes import UnifiedProcesses
from lxsandbox.cgroups.protocol import Counters
from lxsandbox.cgroups.v2_limits import plan
from lxsandbox.errors import SandboxError

if TYPE_CHECKING:
    from lxsandbox.cgroups.machine import Machine
    from lxsandbox.spec import Limits

__all__ = ["CgroupV2", "Place"]

_CONTROLLERS = ("memory", "pids", "cpu", "io", "cpuset")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The run's folder, and what was found out about it."""

    folder: str
    lacks: Mapping[str, Lack]
    accounts_swap: bool
    can_kill: bool
    stacked_disks: frozenset[str]


class CgroupV2:
    """One sandbox's folder."""

    def __init__(self, name: str, place: Place, machine: Machine) -> None:
        self._folder = f"{place.folder}/{name}"
        self._place = place
        self._machine = machine
        self._processes = UnifiedProcesses(self._folder, machine, can_kill=place.can_kill)
        self._made = False
        self._held = UNBOUNDED
        self._into_fd: int | None = None

    @property
    def into_fd(self) -> int | None:
        return self._into_fd

    def make(self, limits: Limits) -> None:
        """Make the folder and write the limits. Leaves what it made to `remove` when it raises."""
        refuse_unheld(limits, self._place.lacks)
        make_folder(self._folder, self._machine)
        self._made = True
        self._into_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._change(limits)

    def attach(self, pid: int, *, cloned_into: bool = True) -> None:
        if not cloned_into:
            write(self._folder + "/cgroup.procs", str(pid))

    def update(self, limits: Limits) -> None:
        refuse_unheld(limits, self._place.lacks)
        before = self._held
        try:
            self._change(limits)
        except SandboxError:
            with suppress(SandboxError):
                self._apply(before, limits)
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
        folder = self._folder
        cpu = pairs(folder + "/cpu.stat")
        read_bytes, written_bytes = self._io_bytes()
        return Counters(
            memory_bytes=number(folder + "/memory.current"),
            memory_peak_bytes=number(folder + "/memory.peak"),  # since Linux 5.19
            cpu_seconds=_seconds(cpu.get("usage_usec")),
            cpu_throttled_seconds=_seconds(cpu.get("throttled_usec")),
            pids=number(folder + "/pids.current"),
            pids_peak=number(folder + "/pids.peak"),  # since Linux 6.1
            io_read_bytes=read_bytes,
            io_write_bytes=written_bytes,
            oom_kills=pairs(folder + "/memory.events").get("oom_kill"),
            pressure=pressure(folder),
        )

    def remove(self, *, deadline_seconds: float = 5.0) -> None:
        if self._made:
            remove_folder(self._folder, self._machine, until=time.monotonic() + deadline_seconds)

    def close(self) -> None:
        descriptor, self._into_fd = self._into_fd, None
        if descriptor is not None:
            os.close(descriptor)

    def _refuse_without_freezer(self) -> None:
        lack = self._place.lacks.get("freezer")
        if lack is not None:
            raise unsupported("freezer", lack)

    def _change(self, limits: Limits) -> None:
        self._apply(limits, self._held)
        self._held = limits

    def _apply(self, new: Limits, old: Limits) -> None:
        disks = () if new.io_bytes_per_second == old.io_bytes_per_second else self._machine.disks()
        writes = plan(new, old, accounts_swap=self._place.accounts_swap, disks=disks)
        apply(writes, dict.fromkeys(_CONTROLLERS, self._folder))

    def _io_bytes(self) -> tuple[int | None, int | None]:
        """Bytes read and written on the disks themselves; lines are `major:minor rbytes=1 wbytes=2 …`."""
        try:
            lines = read(self._folder + "/io.stat").splitlines()
        except FileNotFoundError:
            return None, None
        totals = {"rbytes": 0, "wbytes": 0}
        for disk, *words in filter(None, map(str.split, lines)):
            for key, _, value in (word.partition("=") for word in words):
                if key in totals and disk not in self._place.stacked_disks:
                    totals[key] += int(value)
        return totals["rbytes"], totals["wbytes"]


def _seconds(micros: int | None) -> float | None:
    return None if micros is None else micros / 1e6
