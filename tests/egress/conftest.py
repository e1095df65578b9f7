"""Sandboxes that go outside, and runs of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from egress.outside import Resolver, Server, address_of_host, resolver, serve

from lxsandbox.sandbox.connection import ServiceConnection


@pytest.fixture
def host() -> str:
    """The host's address on the way to the world."""
    address = address_of_host()
    assert address is not None
    return address


@pytest.fixture
def server(host: str) -> Iterator[Server]:
    with serve(host) as made:
        yield made


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    """What the host asks for names, for services that are started from here on."""
    with resolver() as made:
        monkeypatch.setenv("LXSANDBOX_NAMESERVERS", made.setting)
        yield made


@pytest.fixture
def connection(request: pytest.FixtureRequest) -> Iterator[ServiceConnection]:
    """A service of this test's own, started in its environment."""
    with ExitStack() as undo:
        made = ServiceConnection.open()
        undo.callback(made.leave)
        yield made
