"""Servers to wait for, and what the service holds while it waits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from lxsandbox import Sandbox, SandboxSpec
from lxsandbox.sandbox.connection import ServiceConnection

A_MOMENT = 0.3  # long enough to have looked, on a machine that has much to do
Make = Callable[..., Sandbox]
Holds = Callable[[Sandbox], tuple[int, int]]

LISTEN = "import socket, sys; s = socket.create_server(('{address}', {port}), family=socket.{family}); sys.stdin.read()"


def python(code: str) -> list[str]:
    return ["/usr/bin/python3", "-I", "-S", "-c", code]


def listening(port: int, address: str = "127.0.0.1", family: str = "AF_INET") -> list[str]:
    """A server that listens until its stdin ends."""
    return python(LISTEN.format(address=address, port=port, family=family))


@pytest.fixture
def holds() -> Holds:
    """How many descriptors the service has, when it makes nothing ahead, and how many processes are in the sandbox."""

    def look(box: Sandbox) -> tuple[int, int]:
        box._control.connection.request("prewarm", spec=SandboxSpec().as_json(), required=[], count=1, wait=True)
        return len(os.listdir(f"/proc/{box._control.connection.hello.pid}/fd")), box.stats().pids or 0

    return look


@pytest.fixture
def alone() -> Iterator[Make]:
    """Sandboxes of a service that nobody else uses, so that what it holds can be counted."""
    connection = ServiceConnection.open()
    with ExitStack() as boxes:
        yield lambda **fields: boxes.enter_context(Sandbox(connection=connection, **fields))
    connection.leave()


@pytest.fixture
def apart() -> Iterator[ThreadPoolExecutor]:
    """Threads for what waits while the test goes on."""
    with ThreadPoolExecutor() as pool:
        yield pool
