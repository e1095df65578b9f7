"""Networks and sandboxes of one run that is this test's own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from rootfs_real.busybox import make_root

from lxsandbox import Network, Sandbox
from lxsandbox.errors import ServiceLost
from lxsandbox.sandbox.connection import ServiceConnection
from lxsandbox.service.leftovers import leave_run

Make = Callable[..., Sandbox]
Open = Callable[..., Network]


@pytest.fixture
def connection() -> Iterator[ServiceConnection]:
    made = ServiceConnection.open(label="networks")
    yield made
    try:
        assert not any(made.leave().values())
    except ServiceLost:  # the test has killed it
        leave_run(made.folder)


@pytest.fixture
def make(connection: ServiceConnection) -> Iterator[Make]:
    """A sandbox of that run."""
    with ExitStack() as stack:

        def make(**fields: Any) -> Sandbox:
            return stack.enter_context(Sandbox(connection=connection, **fields))

        yield make


@pytest.fixture
def open_network(connection: ServiceConnection) -> Iterator[Open]:
    """A network of that run."""
    with ExitStack() as stack:

        def open_network(name: str | None = None) -> Network:
            return stack.enter_context(Network(name, connection=connection))

        yield open_network


@pytest.fixture
def network(open_network: Open) -> Network:
    return open_network()


@pytest.fixture
def busybox_image() -> Iterator[str]:
    """A root with busybox and nothing else, as an image, in a folder that a sandbox's ids can enter."""
    with tempfile.TemporaryDirectory(prefix="root-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o755)
        yield f"dir:{make_root(Path(made, 'root'))}"
