"""How long a registry is waited for, and how often it is asked again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from lxsandbox.images.registry.failures import RegistryError, Stopped
from lxsandbox.images.registry.stop import Stop

__all__ = ["Attempts", "Patience"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """Time-outs and retries. `attempts` counts failures in a row; a body slower than the slowest counts as one."""

    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    attempts: int = 5
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 60.0
    slowest_bytes_per_second: int = 1024


class Attempts:
    """Counts what failed in a row, and waits before the next try."""

    def __init__(self, patience: Patience, stopped: Stop) -> None:
        self._patience = patience
        self._stopped = stopped
        self._failures = 0

    def progressed(self) -> None:
        """Count anew: the source does give something."""
        self._failures = 0

    def failed(self, error: RegistryError) -> None:
        """Wait as long as is due before the next try. Raises `error` when there is no point in one; Stopped when told to."""
        self._failures += 1
        asked = error.retry_after_seconds
        if asked is not None and asked > self._patience.longest_wait_seconds:
            error.add_note(f"the registry asks to come back in {asked:.0f} s")
            raise error
        if not error.transient or self._failures >= self._patience.attempts:
            raise error
        if self._stopped.wait(self._back_off_seconds() if asked is None else asked):
            raise Stopped

    def _back_off_seconds(self) -> float:
        longest = min(self._patience.first_wait_seconds * 2.0 ** (self._failures - 1), self._patience.longest_wait_seconds)
        # Spread, so that workers which failed together do not come back together.
        return longest * random.uniform(0.5, 1.0)
