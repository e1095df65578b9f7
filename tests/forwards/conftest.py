"""Servers to be reached: one file, run by the host's Python in sandboxes and, as a peer, on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL

import pytest

from lxsandbox import Sandbox
from lxsandbox.errors import ServiceLost
from lxsandbox.sandbox.connection import ServiceConnection
from lxsandbox.sandbox.process import Process

SERVERS = (Path(__file__).parent / "servers.py").read_text()

Serve = Callable[..., Process]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(box, *words)`: one of `servers.py` in a sandbox, once it listens."""
    with ExitStack() as stack:

        def serve(box: Sandbox, *words: str) -> Process:
            process = box.popen(["/usr/bin/python3", "-I", "-S", "-c", SERVERS, *words], stdin=DEVNULL, stderr=DEVNULL)
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            stack.callback(process.stdout.close)
            return process

        yield serve


@pytest.fixture
def connection() -> Iterator[ServiceConnection]:
    """A service of the test's own."""
    made = ServiceConnection.open()
    try:
        yield made
    finally:
        try:
            made.leave()
        except ServiceLost:
            ServiceConnection.open().leave()  # which removes what one that was killed has left
