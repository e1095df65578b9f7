"""What a sandbox has used, as its cgroup counts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["Stats"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """Counters of one sandbox, all its processes together; None where the host cannot count it.

    Times are seconds of processor time; `cpu_throttled_seconds` is how long the limit `cpus` held it back. `oom_kills` are
    processes killed for memory. `pressure` maps names such as `memory.some` to the share of time (per cent, over ten
    seconds) that something waited, see the kernel's accounting/psi.rst.
    """

    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    cpu_seconds: float | None = None
    cpu_throttled_seconds: float | None = None
    pids: int | None = None
    pids_peak: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    oom_kills: int | None = None
    pressure: Mapping[str, float] | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Stats:
        """Read it from the wire; counters of a newer service that this class does not know are left out."""
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})
