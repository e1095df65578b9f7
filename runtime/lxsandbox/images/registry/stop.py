"""One word to all transfers of a pull or a push: stop, now."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator

__all__ = ["Stop"]


class Stop:
    """Set once, by whoever has seen a failure or an interrupt. For several threads at once."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._cuts: list[Callable[[], None]] = []

    def set(self) -> None:
        """Stop what is under way: also what waits for bytes that do not come."""
        self._event.set()
        with self._lock:
            for cut in self._cuts:
                cut()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait this long, or until it is set. Returns whether it is."""
        return self._event.wait(seconds)

    @contextlib.contextmanager
    def cuts(self, cut: Callable[[], None]) -> Generator[None]:
        """While in this context, stopping calls `cut`, which has to end what the context waits for."""
        with self._lock:
            self._cuts.append(cut)
        try:
            if self.is_set():
                cut()
            yield
        finally:
            with self._lock:  # so that what is cut is not being closed meanwhile
                self._cuts.remove(cut)
