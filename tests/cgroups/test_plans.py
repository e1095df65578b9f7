"""Plans of writes, and reading of mounts: pure, no kernel needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxsandbox.cgroups import open_tree
from lxsandbox.cgroups.limits import UNBOUNDED
from lxsandbox.cgroups.machine import CgroupMount, Machine
from lxsandbox.cgroups.v1_limits import HostFacts, plan
from lxsandbox.errors import HostUnsupported
from lxsandbox.spec import Limits

HOST = HostFacts(accounts_swap=True, has_swap=True, disks=("8:0",))
SIZES = st.none() | st.integers(min_value=1, max_value=50)
MEMORY_LIMITS = st.builds(
    lambda memory, swap: Limits(memory_bytes=memory, swap_bytes=swap if memory is not None else None), SIZES, SIZES | st.just(0)
)


@given(st.lists(MEMORY_LIMITS, max_size=6))
def test_at_no_moment_is_v1_memory_and_swap_below_memory(changes: list[Limits]) -> None:
    held = UNBOUNDED
    values = {"memory.limit_in_bytes": 2**63, "memory.memsw.limit_in_bytes": 2**63}
    for limits in changes:
        for step in plan(limits, held, HOST):
            if step.file in values:
                values[step.file] = 2**63 if step.value == "-1" else int(step.value)
            assert values["memory.limit_in_bytes"] <= values["memory.memsw.limit_in_bytes"]
        held = limits


def test_what_is_the_default_already_is_not_written() -> None:
    assert plan(UNBOUNDED, UNBOUNDED, HOST) == []
    assert plan(Limits(), UNBOUNDED, HostFacts(accounts_swap=True, has_swap=False)) == []


def test_swap_without_memory_is_refused_on_v1() -> None:
    with pytest.raises(HostUnsupported, match="only knows the sum"):
        plan(Limits(swap_bytes=4096), UNBOUNDED, HOST)


@pytest.mark.parametrize(
    ("root", "group", "folder"),
    [
        ("/", "/a/b", "/mnt/a/b"),
        ("/", "/", "/mnt"),
        ("/docker/1", "/docker/1", "/mnt"),
        ("/docker/1", "/docker/1/x", "/mnt/x"),
        ("/docker/1", "/docker/12", None),
        ("/", "/../other", None),
    ],
)
def test_the_folder_of_a_group_depends_on_what_the_mount_shows(root: str, group: str, folder: str | None) -> None:
    mount = CgroupMount(folder="/mnt", root=root, unified=True, controllers=frozenset())
    assert mount.folder_of(group) == folder


def test_hierarchies_are_known_by_their_type_and_may_be_shared(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    lines = [
        "31 23 0:28 / /sys/fs/cgroup rw shared:1 - tmpfs tmpfs rw",
        r"32 31 0:29 / /odd\040place rw - cgroup cgroup rw,cpu,cpuacct",
        "33 31 0:30 / /cgroup2 rw - tmpfs none rw",
        "34 31 0:31 / /x rw - cgroup2 none rw,nsdelegate",
    ]
    (tmp_path / "self/mountinfo").write_text("\n".join(lines), encoding="utf-8")

    mounts = Machine(proc=str(tmp_path)).mounts()

    assert [(mount.folder, mount.unified, mount.controllers) for mount in mounts] == [
        ("/odd place", False, frozenset({"cpu", "cpuacct"})),
        ("/x", True, frozenset()),
    ]


def test_controllers_that_share_a_hierarchy_share_one_folder(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "both").mkdir()
    (tmp_path / "self/mountinfo").write_text(f"32 31 0:29 / {tmp_path}/both rw - cgroup cgroup rw,cpuacct,cpu", encoding="utf-8")
    (tmp_path / "self/cgroup").write_text("1:cpu,cpuacct:/", encoding="utf-8")

    def make_folder(path: str) -> None:
        Path(path).mkdir()
        for file in ("cgroup.procs", "cpu.cfs_quota_us", "cpuacct.usage"):
            Path(path, file).write_text("0", encoding="utf-8")

    tree = open_tree("r", Machine(proc=str(tmp_path), make_folder=make_folder))
    group = tree.create("box", Limits(swap_bytes=None, cpus=2))
    group.attach(12)

    assert (tree.kind, set(tree.lacks)) == ("v1", {"memory", "pids", "io", "cpuset", "freezer"})
    assert (tmp_path / "both/lxsandbox-r/box/cpu.cfs_quota_us").read_text(encoding="utf-8") == "200000"
    assert (tmp_path / "both/lxsandbox-r/box/cgroup.procs").read_text(encoding="utf-8") == "12"
    with pytest.raises(HostUnsupported, match="freezer"):
        group.freeze()
