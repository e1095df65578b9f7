"""Three members of one network, for all tests of a module; each test finds it without faults, and leaves it so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import needs as capabilities
import pytest
from network_faults.talking import Members

from lxsandbox import Network, Sandbox
from pytest_lxsandbox import session

NEEDED = ("user-namespaces", "overlayfs", "libseccomp", "veth", "bridge", "nftables")


@pytest.fixture(scope="module")
def run(pytestconfig: pytest.Config) -> Iterator[Members]:
    for capability in NEEDED:
        if reason := capabilities.lacks(capability):
            pytest.skip(reason)
    connection = session._run_of(pytestconfig)._connection  # of the suite's own run: what that makes ahead is known to be no leak
    with ExitStack() as undo:
        network = undo.enter_context(Network(connection=connection))
        a, b, c = (undo.enter_context(Sandbox(connection=connection, networks=[network], name=name)) for name in "abc")
        yield Members(connection=connection, network=network, a=a, b=b, c=c)


@pytest.fixture
def members(run: Members) -> Iterator[Members]:
    """The three; whatever faults a test has made are healed after it."""
    assert run.network.fault_counts() == []
    yield run
    run.network.heal()
    assert run.network.fault_counts() == []
