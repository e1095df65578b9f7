"""Limits as writes to v2 files. Pure: reads nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lxsandbox.cgroups.limits import Write, cpu_quota
from lxsandbox.units import UNLIMITED

if TYPE_CHECKING:
    from lxsandbox.spec import Limits

__all__ = ["plan"]


def plan(new: Limits, old: Limits, *, accounts_swap: bool, disks: Sequence[str]) -> list[Write]:
    """The writes that turn `old` into `new`. `memory.oom.group` stays 0: the OOM killer takes one command, not the sandbox."""
    writes: list[Write] = []
    if new.memory_bytes != old.memory_bytes:
        writes.append(Write("memory", "memory", "memory.max", _or_max(new.memory_bytes)))
    # Swap is accounted apart from memory: without this, a test that should be OOM-killed swaps for minutes.
    if accounts_swap and new.swap_bytes != old.swap_bytes:
        writes.append(Write("swap", "memory", "memory.swap.max", _or_max(new.swap_bytes)))
    if new.pids != old.pids:
        writes.append(Write("pids", "pids", "pids.max", _or_max(new.pids)))
    if new.cpus != old.cpus:
        writes.append(Write("cpus", "cpu", "cpu.max", _cpu(new.cpus)))
    if new.io_bytes_per_second != old.io_bytes_per_second:
        rate = _or_max(new.io_bytes_per_second)
        writes += [Write("io", "io", "io.max", f"{disk} rbps={rate} wbps={rate}") for disk in disks]
    if new.cpuset != old.cpuset:
        # A newline, for an empty write(2) never reaches the kernel's handler.
        writes.append(Write("cpuset", "cpuset", "cpuset.cpus", ",".join(map(str, new.cpuset or ())) or "\n"))
    return writes


def _or_max(value: int | None) -> str:
    return UNLIMITED if value is None else str(value)


def _cpu(cpus: float | None) -> str:
    if cpus is None:
        return f"{UNLIMITED} 100000"
    quota, period = cpu_quota(cpus)
    return f"{quota} {period}"
