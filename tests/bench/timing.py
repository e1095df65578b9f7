"""Timing things in turn, one of each a round, so that what else the machine does falls on all alike; and the figures of it."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

__all__ = ["Contestant", "Figures", "Rounds", "in_turn", "milliseconds_of", "without_collections"]


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """What is timed: `once`. `around` sets the stage before it and clears it after, off the clock."""

    name: str
    once: Callable[[], object]
    around: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Of one contestant, in milliseconds."""

    minimum: float
    median: float
    maximum: float
    count: int

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> Figures:
        return cls(minimum=min(samples_ms), median=statistics.median(samples_ms), maximum=max(samples_ms), count=len(samples_ms))


Rounds = dict[str, Figures]


def in_turn(contestants: Sequence[Contestant], rounds: int, *, warm_up: int = 3) -> Rounds:
    """A, B, C, A, B, C, … so many times; the first `warm_up` rounds are not counted."""
    samples: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    with without_collections():
        for number in range(warm_up + rounds):
            for contestant in contestants:
                with contestant.around():
                    taken = milliseconds_of(contestant.once)
                if number >= warm_up:
                    samples[contestant.name].append(taken)
            gc.collect()
    return {name: Figures.of(taken) for name, taken in samples.items()}


def milliseconds_of(once: Callable[[], object]) -> float:
    """How long the call takes."""
    started = time.perf_counter()
    once()
    return (time.perf_counter() - started) * 1000


@contextmanager
def without_collections() -> Generator[None]:
    """No garbage collection of this process on anybody's clock."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
