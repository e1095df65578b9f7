"""Images to start from, and a cache of the test's own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rootfs_real.busybox import make_root

from lxsandbox import Sandbox
from lxsandbox.sandbox.connection import ServiceConnection


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that a sandbox's ids can enter: pytest's own is closed to others."""
    with tempfile.TemporaryDirectory(prefix="root-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="module")
def root(folder: Path) -> Path:
    """A root file system that holds busybox and nothing else."""
    return make_root(folder / "root")


@pytest.fixture
def place() -> Iterator[Path]:
    """A fresh folder that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="place-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def connection() -> Iterator[ServiceConnection]:
    """A service of this test's own, started in its environment."""
    made = ServiceConnection.open()
    yield made
    made.leave()


@pytest.fixture
def small(make_sandbox: Callable[..., Sandbox], root: Path) -> Callable[..., Sandbox]:
    """A sandbox over the busybox root."""

    def small(**fields: object) -> Sandbox:
        return make_sandbox(f"dir:{root}", **fields)

    return small
