"""What is shown of blobs on their way (a bar for each on a terminal, else a line for each that came through), and of a build."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Generator
from typing import TYPE_CHECKING

import click

from lxsandbox.images.registry.progress import Progress, Silent
from lxsandbox.units import format_size

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

__all__ = ["shown_progress"]

_DIGITS = 12


@contextlib.contextmanager
def shown_progress(*, quiet: bool) -> Generator[Progress]:
    """Within, what is told of blobs is shown on stderr, unless `quiet`."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield _OnTerminal(bars)
    else:
        yield _InLines()


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    return Progress(*columns, console=Console(stderr=True))


def _short(digest: str) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}:{encoded[:_DIGITS]}"


class _OnTerminal:
    """A bar for each blob, which stays when it is through."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def begin(self, digest: str, size: int) -> None:
        self._tasks[digest] = self._bars.add_task(_short(digest), total=size)

    def advance(self, digest: str, count: int) -> None:
        self._bars.update(self._tasks[digest], advance=count)

    def end(self, digest: str) -> None:
        self._bars.stop_task(self._tasks[digest])

    def step(self, text: str) -> None:
        self._bars.console.print(text, style="bold", markup=False, highlight=False)

    def output(self, text: str) -> None:
        self._bars.console.print(text, end="", markup=False, highlight=False)


class _InLines:
    """A line when a blob is through. One that failed has none: the error says which, and why."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[str, int] = {}
        self._sizes: dict[str, int] = {}

    def begin(self, digest: str, size: int) -> None:
        with self._lock:
            self._left[digest] = self._sizes[digest] = size

    def advance(self, digest: str, count: int) -> None:
        with self._lock:
            self._left[digest] -= count

    def end(self, digest: str) -> None:
        with self._lock:
            if self._left[digest] == 0:
                click.echo(f"{_short(digest)}… {format_size(self._sizes[digest])} done", err=True)

    def step(self, text: str) -> None:
        click.echo(text, err=True)

    def output(self, text: str) -> None:
        """The end of it is told where a step fails."""
