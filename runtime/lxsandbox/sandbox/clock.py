"""Deadlines of the monotonic clock; None is the deadline that never comes."""

from __future__ import annotations

from math import ceil
from time import monotonic

__all__ = ["milliseconds_until", "moment_after", "seconds_until"]


def moment_after(timeout_seconds: float | None) -> float | None:
    """The deadline that lies `timeout_seconds` ahead."""
    return None if timeout_seconds is None else monotonic() + timeout_seconds


def seconds_until(deadline: float | None) -> float | None:
    """What is left, zero once it has passed."""
    return None if deadline is None else max(0.0, deadline - monotonic())


def milliseconds_until(deadline: float | None) -> int | None:
    """The same for poll(2), rounded up so that nothing wakes early and spins."""
    return None if deadline is None else ceil(max(0.0, deadline - monotonic()) * 1000)
