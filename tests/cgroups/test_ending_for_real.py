"""Killing and removing: of a group, of a run, of what a dead run left; on this machine's own kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cgroups.groups import folders_of, process_in, run_in
from needs import needs

from lxsandbox.cgroups import Cgroup, CgroupTree, Machine, open_tree, remove_leftovers
from lxsandbox.cgroups.processes import UnifiedProcesses
from lxsandbox.errors import HostUnsupported, SandboxError
from lxsandbox.spec import Limits

MIB = 1 << 20
FORK_TREE = """
import os, signal
for _ in range(4): os.fork()
print("up", flush=True)
signal.pause()
"""
MOVE_AND_BACK = """
import os, pathlib, sys
from lxsandbox.cgroups import Machine, open_tree
outer, proc = pathlib.Path(sys.argv[1]), sys.argv[2]
(outer / "cgroup.procs").write_text(str(os.getpid()))
tree = open_tree("inner", Machine(proc=proc))
assert (outer / "lxsandbox-inner/service/cgroup.procs").read_text().split() == [str(os.getpid())]
assert tree.count() == 0
tree.remove()
assert (outer / "cgroup.procs").read_text().split() == [str(os.getpid())]
assert not (outer / "lxsandbox-inner").exists()
"""

pytestmark = needs("cgroup-memory", "cgroup-pids", "cgroup-cpu")


@pytest.mark.parametrize("frozen", [False, True])
def test_kill_all_ends_a_whole_tree_of_forks(group: Cgroup, frozen: bool) -> None:
    with process_in(group, FORK_TREE) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(16)] == ["up\n"] * 16
        assert len(group.members()) == 16
        if frozen:
            group.freeze()
        group.kill_all()
        assert group.members() == []


def test_kill_all_ends_a_fork_bomb(group: Cgroup) -> None:
    group.update(Limits(pids=60))
    bomb = """
import os
print('up', flush=True)
while True:
    try: os.fork()
    except OSError: pass
"""
    with process_in(group, bomb) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        group.kill_all()
        assert group.members() == []


def test_nothing_is_left_after_remove(tree: CgroupTree, run_name: str) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    group = tree.create("box", Limits(memory_bytes=64 * MIB, pids=20, cpus=1.0))
    assert tree.count() == 1
    assert run_in(group, "print('ran')") == (0, "ran\n")

    for _ in range(2):
        group.remove()
        group.close()

    assert tree.count() == 0
    assert len(os.listdir("/proc/self/fd")) == descriptors
    for _ in range(2):
        tree.remove()
    assert folders_of(run_name) == []


def test_a_failed_create_leaves_nothing(tree: CgroupTree) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))

    with pytest.raises(HostUnsupported):
        tree.create("box", Limits(cpus=0.0001))

    assert tree.count() == 0
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_name_in_use_is_refused_and_its_group_stays(tree: CgroupTree, group: Cgroup) -> None:
    with pytest.raises(SandboxError, match="File exists"):
        tree.create("box", Limits())
    assert run_in(group, "print('ran')") == (0, "ran\n")


def test_removing_a_group_in_use_ends_in_time_and_names_the_process(run_name: str) -> None:
    tree = open_tree(run_name)
    group = tree.create("box", Limits())
    with process_in(group, "print('up', flush=True); sys.stdin.readline()") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        with pytest.raises(SandboxError, match=rf"cannot be removed in time: pid {process.pid} \(python.*waiting in"):
            group.remove(deadline_seconds=0.05)
    group.close()
    tree.remove()


def test_leaving_a_run_kills_what_is_left_of_it(tree: CgroupTree, run_name: str) -> None:
    group = tree.create("box", Limits())
    with process_in(group) as process:
        tree.remove()
        assert process.wait(timeout=5) == -9
    group.close()
    assert folders_of(run_name) == []


def test_the_leftovers_of_a_dead_run_are_found_killed_and_removed(tree: CgroupTree, run_name: str) -> None:
    group = tree.create("box", Limits())
    with process_in(group) as process:
        group.freeze()
        remove_leftovers(run_name)
        assert process.wait(timeout=5) == -9
    group.close()
    assert folders_of(run_name) == []


@pytest.mark.parametrize("name", ["", "a/b", "..", "a/../b"])
def test_a_run_name_is_one_plain_name(name: str) -> None:
    if name == "..":
        remove_leftovers(name)  # `lxsandbox-..` is a name like any other
        return
    with pytest.raises(ValueError, match="cannot name a folder"):
        remove_leftovers(name)


def test_a_clone_into_the_group_needs_only_the_other_hierarchies(tree: CgroupTree, group: Cgroup) -> None:
    assert (group.into_fd is None) == (tree.kind == "v1")


def test_a_process_that_moved_to_a_leaf_is_moved_back(run_name: str, tmp_path: Path) -> None:
    unified = next((mount.folder for mount in Machine().mounts() if mount.unified and mount.root == "/"), None)
    if unified is None or (Path(unified) / "cgroup.type").exists() or os.geteuid() != 0:
        pytest.skip("not root on a machine that shows the root of its unified tree")
    outer = Path(unified) / f"lxsandbox-{run_name}-outer"
    outer.mkdir()
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(f"1 1 0:1 / {unified} rw - cgroup2 none rw", encoding="utf-8")
    (tmp_path / "self/cgroup").write_text(f"0::/{outer.name}", encoding="utf-8")
    try:
        done = subprocess.run(
            [sys.executable, "-c", MOVE_AND_BACK, str(outer), str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert [path.name for path in outer.iterdir() if path.is_dir()] == []
    finally:
        outer.rmdir()


def test_a_kernel_without_cgroup_kill_has_its_processes_killed_one_by_one(tree: CgroupTree, group: Cgroup, run_name: str) -> None:
    folder = next((name for name in folders_of(run_name) if (Path(name) / "box/cgroup.kill").exists()), None)
    if folder is None:
        pytest.skip("plain v1")
    processes = UnifiedProcesses(folder + "/box", Machine(), can_kill=False)
    with process_in(group, FORK_TREE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        processes.kill_all()
        assert process.wait(timeout=5) == -9
    assert processes.members() == []
