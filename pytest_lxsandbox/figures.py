"""What the sandboxes of a run took and left behind: numbers that workers send and the controller adds up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lxsandbox.units import format_size

__all__ = ["Figures", "percentile"]

_KINDS = ("processes", "mounts", "cgroups", "links")


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """`leaked` is None where nobody could count, because the service was lost; `unheld` are default limits that were not held."""

    sandboxes: int = 0
    start_seconds: Sequence[float] = ()
    pool_hits: int = 0
    memory_peak_bytes: int | None = None
    leaked: Mapping[str, int] | None = field(default_factory=dict[str, int])
    unheld: Sequence[str] = ()

    def __add__(self, other: Figures) -> Figures:
        peaks = [peak for peak in (self.memory_peak_bytes, other.memory_peak_bytes) if peak is not None]
        return Figures(
            sandboxes=self.sandboxes + other.sandboxes,
            start_seconds=[*self.start_seconds, *other.start_seconds],
            pool_hits=self.pool_hits + other.pool_hits,
            memory_peak_bytes=max(peaks, default=None),
            leaked=_added(self.leaked, other.leaked),
            unheld=sorted({*self.unheld, *other.unheld}),
        )

    @property
    def is_clean(self) -> bool:
        """True when it was counted, and nothing was left behind."""
        return self.leaked is not None and not any(self.leaked.values())

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """The block of the terminal summary."""
        median, high = (percentile(self.start_seconds, percent) * 1000 for percent in (50, 95))
        start = f"start p50 {median:.1f} ms, p95 {high:.1f} ms"
        peak = "unknown" if self.memory_peak_bytes is None else format_size(self.memory_peak_bytes)
        lines = [f"sandboxes: {self.sandboxes}, {start}, pool hits {self.pool_hits}, peak memory {peak}", self._leaked_line()]
        if self.unheld:
            lines.append(f"default limits that this host does not hold: {', '.join(self.unheld)} (see `lxsandbox doctor`)")
        return lines

    def _leaked_line(self) -> str:
        if self.leaked is None:
            return "leaked: unknown, the sandbox service was lost"
        return "leaked: " + ", ".join(f"{self.leaked.get(kind, 0)} {kind}" for kind in _KINDS)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that `percent` of the values do not exceed (nearest rank); 0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]


def _added(one: Mapping[str, int] | None, other: Mapping[str, int] | None) -> dict[str, int] | None:
    if one is None or other is None:
        return None
    return {kind: one.get(kind, 0) + other.get(kind, 0) for kind in _KINDS}
