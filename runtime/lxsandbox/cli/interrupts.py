"""Signals that end this program become an exception, so that what is open is closed on the way out."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Generator
from types import FrameType

__all__ = ["Interrupted", "raised_as_exceptions"]

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Signal `number` asked this program to end. No Exception, so that nothing takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def raised_as_exceptions() -> Generator[None]:
    """Within, SIGINT, SIGTERM and SIGHUP raise Interrupted in the main thread."""
    heard = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]  # nohup(1) means it
    before = {number: signal.signal(number, _raise) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)
