"""What is shown on a terminal while something takes long."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Generator

__all__ = ["slow_notice"]

_SLOW_SECONDS = 1.0


@contextlib.contextmanager
def slow_notice(text: str) -> Generator[None]:
    """Within, after a second, a spinner with `text` on the terminal of stderr; nothing where that is none."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    status = Console(stderr=True).status(text)
    timer = threading.Timer(_SLOW_SECONDS, status.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()
