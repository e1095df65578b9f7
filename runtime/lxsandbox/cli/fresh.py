"""A sandbox for the time of one command line, gone at its end, whatever ends it."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Generator, Mapping
from typing import Any

from lxsandbox.cli.interrupts import raised_as_exceptions
from lxsandbox.sandbox.sandbox import Sandbox

__all__ = ["fresh_sandbox", "slow_notice"]

_SLOW_SECONDS = 1.0


@contextlib.contextmanager
def fresh_sandbox(image: str, fields: Mapping[str, Any]) -> Generator[Sandbox]:
    """A sandbox over `image`; Ctrl-C, SIGTERM and a hang-up close it as its end does."""
    with raised_as_exceptions():
        with slow_notice(f"starting a sandbox over {image}"):
            sandbox = Sandbox(image=image, **fields)
        with sandbox:
            yield sandbox


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
