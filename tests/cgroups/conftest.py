"""Groups on this machine's own kernel: hybrid or v2 as it is, and as plain v1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cgroups.groups import without_unified

from lxsandbox.cgroups import Cgroup, CgroupTree, Machine, open_tree
from lxsandbox.spec import Limits


@pytest.fixture
def run_name() -> str:
    return f"test-{os.getpid()}"


@pytest.fixture(params=["as it is", "v1"])
def tree(request: pytest.FixtureRequest, run_name: str, tmp_path: Path) -> Iterator[CgroupTree]:
    machine = Machine() if request.param == "as it is" else without_unified(tmp_path)
    if not any(mount.controllers for mount in machine.mounts()) and request.param == "v1":
        pytest.skip("this machine has no v1 controllers")
    tree = open_tree(run_name, machine)
    yield tree
    tree.remove()


@pytest.fixture
def group(tree: CgroupTree) -> Iterator[Cgroup]:
    group = tree.create("box", Limits())
    yield group
    group.kill_all()
    group.remove()
    group.close()
