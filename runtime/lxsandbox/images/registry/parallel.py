"""A few transfers at a time, all of which end when one fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed

__all__ = ["Transfer", "run_all"]

Transfer = Callable[[threading.Event], None]

_AT_ONCE = 3  # as docker: more connections fetch no faster from one registry, and some count them


def run_all(transfers: Iterable[Transfer]) -> None:
    """Run them to their end. The first failure, or an interrupt, sets the event that each was given, and is raised."""
    stopped = threading.Event()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="registry") as pool:
        try:
            futures = [pool.submit(transfer, stopped) for transfer in transfers]
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
