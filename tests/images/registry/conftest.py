"""Real registries, with and without a login, and a proxy in front of the open one that can be told to fail."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from images.registry.fault_proxy import FaultProxy, running_proxy
from images.registry.servers import running_registry

from lxsandbox.images.blobs import Blobs
from lxsandbox.images.registry import Patience, Registry

QUICK = Patience(connect_seconds=5, read_seconds=5, attempts=4, first_wait_seconds=0.01)


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host of a registry that everybody may use; for tests that need `docker-registry`."""
    yield from _registry(tmp_path_factory, with_login=False)


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host of one that wants LOGIN."""
    yield from _registry(tmp_path_factory, with_login=True)


def _registry(factory: pytest.TempPathFactory, *, with_login: bool) -> Iterator[str]:
    folder = factory.mktemp("docker-registry")
    with running_registry(folder, with_login=with_login) as host:
        yield host
    shutil.rmtree(folder)


@pytest.fixture
def proxy(open_registry: str) -> Iterator[FaultProxy]:
    """In front of `open_registry`; faultless until it is told otherwise."""
    with running_proxy(open_registry) as running:
        yield running


@pytest.fixture
def registry(proxy: FaultProxy) -> Iterator[Registry]:
    """The client of the proxy, which has no login and little time."""
    with Registry(proxy.host, credentials=lambda host, repository: None, patience=QUICK) as made:
        yield made


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path / "store"))
