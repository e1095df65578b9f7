"""Limits as writes to v1 files. Pure: reads nothing, writes nothing.

What v1 cannot: throttle buffered writes that the kernel flushes by itself (reads, direct writes and fsync are), and lower
memory under what is in use (EBUSY, where v2 would kill).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lxsandbox.cgroups.limits import Write, cpu_quota
from lxsandbox.errors import HostUnsupported

if TYPE_CHECKING:
    from lxsandbox.spec import Limits

__all__ = ["HostFacts", "plan"]


@dataclass(frozen=True, kw_only=True, slots=True)
class HostFacts:
    """What the writes depend on: whether swap is accounted (`memsw` files), whether there is any, the disks, all cpus."""

    accounts_swap: bool
    has_swap: bool
    disks: tuple[str, ...] = ()
    all_cpus: str = ""


def plan(new: Limits, old: Limits, host: HostFacts) -> list[Write]:
    """The writes that turn `old` into `new`, in an order that the kernel takes."""
    writes = _memory(new, old, host)
    if new.pids != old.pids:
        writes.append(Write("pids", "pids", "pids.max", "max" if new.pids is None else str(new.pids)))
    if new.cpus != old.cpus:
        writes += _cpu(new.cpus, old.cpus)
    if new.io_bytes_per_second != old.io_bytes_per_second:
        writes += _io(new.io_bytes_per_second, host)
    if new.cpuset != old.cpuset:
        cpus = host.all_cpus if new.cpuset is None else ",".join(map(str, new.cpuset))
        writes.append(Write("cpuset", "cpuset", "cpuset.cpus", cpus))
    return writes


def _memory(new: Limits, old: Limits, host: HostFacts) -> list[Write]:
    if new.memory_bytes is None and new.swap_bytes:
        raise HostUnsupported(
            "swap cannot be bounded without memory: cgroup v1 only knows the sum of both",
            hint="give a memory limit too",
            capability="cgroup-swap",
        )
    writes: list[Write] = []
    if new.memory_bytes != old.memory_bytes:
        writes.append(Write("memory", "memory", "memory.limit_in_bytes", _bytes(new.memory_bytes or math.inf)))
    before, after = _memory_and_swap(old), _memory_and_swap(new)
    if host.accounts_swap and after != before:
        total = Write("swap", "memory", "memory.memsw.limit_in_bytes", _bytes(after))
        # At no moment may the sum be below the memory alone: on the way up it goes first, on the way down last.
        writes.insert(0 if after > before else len(writes), total)
    if host.has_swap and (new.swap_bytes == 0) != (old.swap_bytes == 0):
        # The sum does not keep the kernel from swapping when the whole host is short of memory; this nearly does.
        writes.append(Write("swap", "memory", "memory.swappiness", "0" if new.swap_bytes == 0 else "60"))
    return writes


def _memory_and_swap(limits: Limits) -> float:
    if limits.memory_bytes is None or limits.swap_bytes is None:
        return math.inf
    return limits.memory_bytes + limits.swap_bytes


def _bytes(count: float) -> str:
    return "-1" if count == math.inf else str(count)


def _cpu(new: float | None, old: float | None) -> list[Write]:
    if new is None:
        return [Write("cpus", "cpu", "cpu.cfs_quota_us", "-1")]
    quota, period = cpu_quota(new)
    write_quota = Write("cpus", "cpu", "cpu.cfs_quota_us", str(quota))
    if period == (100_000 if old is None else cpu_quota(old)[1]):
        return [write_quota]
    # Lifted in between: a quota and a period of two different limits may together be more than the parent has (EINVAL).
    lift = [] if old is None else [Write("cpus", "cpu", "cpu.cfs_quota_us", "-1")]
    return [*lift, Write("cpus", "cpu", "cpu.cfs_period_us", str(period)), write_quota]


def _io(rate: int | None, host: HostFacts) -> list[Write]:
    files = ("blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device")
    return [Write("io", "blkio", file, f"{disk} {rate or 0}") for disk in host.disks for file in files]
