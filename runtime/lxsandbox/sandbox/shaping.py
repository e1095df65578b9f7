"""What `shape()` is asked for, checked: seconds, shares of one, bytes a second."""

from __future__ import annotations

from typing import Any

from lxsandbox.errors import SpecError
from lxsandbox.units import parse_duration, parse_rate, parse_share

__all__ = ["Direction", "checked_directions", "checked_shape"]

Direction = str
_DIRECTIONS = {"both": ("out", "in"), "out": ("out",), "in": ("in",)}
_DURATIONS = ("delay", "jitter")
_SHARES = ("loss", "duplicate", "corrupt", "reorder")
_LONGEST_SECONDS = 240.0  # sch_netem counts ticks of 64 ns in 32 bits
_LEAST_SHARE = 0.0001  # a smaller one could not be proven in a second
_LEAST_RATE = 1000


def checked_directions(direction: Direction) -> tuple[str, ...]:
    """Raises SpecError."""
    if direction not in _DIRECTIONS:
        raise SpecError(f"direction={direction!r} is none", hint='it is "out" (what the sandbox sends), "in", or "both"')
    return _DIRECTIONS[direction]


def checked_shape(given: dict[str, Any], *, one_link: bool) -> dict[str, Any]:
    """Those that are given, as plain numbers. `one_link`: it is about a link to one peer. Raises SpecError."""
    values = {name: _number(name, value) for name, value in given.items() if value is not None}
    values = {name: value for name, value in values.items() if value}
    if not values:
        raise SpecError("shape() is asked for nothing", hint=f"give one of {', '.join(given)}")
    for name in _SHARES:
        if 0 < values.get(name, 1) < _LEAST_SHARE:
            raise SpecError(f"{name}={given[name]!r} is too little to be proven", hint=f"the least is {_LEAST_SHARE:.2%}")
    for name in _DURATIONS:
        if values.get(name, 0) > _LONGEST_SECONDS:
            raise SpecError(f"{name}={given[name]!r} is too long", hint=f"the most is {_LONGEST_SECONDS:.0f} seconds")
    if values.get("rate", _LEAST_RATE) < _LEAST_RATE:
        raise SpecError(
            f"rate={given['rate']!r} is too little", hint=f"the least is {_LEAST_RATE} bytes a second; or use isolate()"
        )
    if "reorder" in values and "delay" not in values:
        raise SpecError("reorder= needs delay=", hint="the packets that are not delayed overtake those that are")
    if one_link and set(values) != {"loss"}:
        others = ", ".join(name for name in values if name != "loss")
        raise SpecError(f"{others} with peer= cannot be done", hint="leave peer= out; loss alone can be of one link")
    return values


def _number(name: str, value: Any) -> float:
    if name in _DURATIONS:
        return parse_duration(value, what=name)
    return parse_share(value, what=name) if name in _SHARES else parse_rate(value, what=name)
