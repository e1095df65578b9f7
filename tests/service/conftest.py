"""Clients of a service, each a connection of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from lxsandbox.errors import ServiceLost
from lxsandbox.sandbox.connection import ServiceConnection

Connect = Callable[..., ServiceConnection]


@pytest.fixture
def connection() -> Iterator[ServiceConnection]:
    """The first client of a service of this test's own."""
    made = ServiceConnection.open(label="first")
    yield made
    _leave(made)


@pytest.fixture
def connect(connection: ServiceConnection) -> Iterator[Connect]:
    """Further clients of that service."""
    with ExitStack() as stack:

        def connect(**options: bool | str) -> ServiceConnection:
            made = ServiceConnection.open(connection.folder, start=False, **options)  # type: ignore[arg-type]
            stack.callback(_leave, made)
            return made

        yield connect


def _leave(connection: ServiceConnection) -> None:
    if connection.channel._sock.fileno() < 0:
        return  # the test has left itself
    with suppress(ServiceLost):
        connection.leave()
