"""Limits, figures and freezing, on this machine's own kernel."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cgroups.groups import folders_of, process_in, run_in, without_v1
from needs import needs

from lxsandbox.cgroups import Cgroup, CgroupTree, open_tree
from lxsandbox.cgroups.machine import Machine
from lxsandbox.errors import HostUnsupported, SandboxError
from lxsandbox.spec import Limits

MIB = 1 << 20
ALLOCATE_64_MIB = "kept = bytearray(64 << 20); print('done')"
BURN_300_MS = "import time\nwhile time.process_time() < 0.3: pass"

pytestmark = needs("cgroup-memory", "cgroup-pids", "cgroup-cpu")


def test_more_than_the_memory_limit_is_killed_and_counted(group: Cgroup) -> None:
    group.update(Limits(memory_bytes=32 * MIB))

    returncode, output = run_in(group, ALLOCATE_64_MIB)

    counters = group.counters()
    assert (returncode, output) == (-9, "")
    assert counters.oom_kills == 1
    assert counters.memory_peak_bytes is not None
    assert 30 * MIB < counters.memory_peak_bytes <= 32 * MIB


def test_a_memory_limit_goes_up_and_down(group: Cgroup) -> None:
    for mebibytes, returncode in ((32, -9), (128, 0), (32, -9)):
        group.update(Limits(memory_bytes=mebibytes * MIB))
        assert run_in(group, ALLOCATE_64_MIB)[0] == returncode

    group.update(Limits(swap_bytes=None))
    assert run_in(group, ALLOCATE_64_MIB) == (0, "done\n")


def test_a_memory_limit_also_forbids_swap(group: Cgroup, run_name: str) -> None:
    group.update(Limits(memory_bytes=32 * MIB))

    bounds = {"memory.memsw.limit_in_bytes": 32 * MIB, "memory.swap.max": 0}
    files = [Path(folder, "box", name) for folder in folders_of(run_name) for name in bounds]
    assert [int(file.read_text()) for file in files if file.exists()] == [bounds[file.name] for file in files if file.exists()]
    assert run_in(group, ALLOCATE_64_MIB)[0] == -9


def test_a_refused_update_leaves_the_limits_as_they_were(group: Cgroup, tree: CgroupTree) -> None:
    if tree.kind == "v2":
        pytest.skip("v2 kills where v1 refuses")
    group.update(Limits(memory_bytes=256 * MIB))

    with process_in(group, "kept = bytearray(64 << 20); print('done', flush=True); sys.stdin.readline()") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        with pytest.raises(SandboxError, match="memory cannot be set to"):
            group.update(Limits(memory_bytes=16 * MIB, pids=5))

    assert run_in(group, ALLOCATE_64_MIB) == (0, "done\n")


def test_a_pids_limit_stops_forks(group: Cgroup) -> None:
    group.update(Limits(pids=3))

    code = """
import os
try:
    for count in range(10):
        if os.fork() == 0: sys.stdin.read(); os._exit(0)
except BlockingIOError: print(count, flush=True)
"""
    with process_in(group, code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "2\n"
    assert group.counters().pids_peak in (3, None)


def test_a_cpu_limit_throttles(group: Cgroup) -> None:
    group.update(Limits(cpus=0.2))

    assert run_in(group, BURN_300_MS)[0] == 0

    counters = group.counters()
    assert counters.cpu_seconds is not None
    assert counters.cpu_seconds > 0.25  # its start was not in the group yet
    assert counters.cpu_throttled_seconds is not None
    assert counters.cpu_throttled_seconds > 0.3


@pytest.mark.parametrize("cpus", [0.005, 1.5, None, 0.002])
def test_a_cpu_limit_can_be_changed_to_any_share(group: Cgroup, cpus: float | None) -> None:
    group.update(Limits(cpus=0.5))
    group.update(Limits(cpus=cpus))


def test_a_share_below_what_the_kernel_can_hold_is_refused(group: Cgroup) -> None:
    with pytest.raises(HostUnsupported, match=r"0\.001") as raised:
        group.update(Limits(cpus=0.0001))
    assert raised.value.capability == "cgroup-cpu"


@needs("cgroup-cpuset")
def test_a_cpuset_holds_for_what_runs_already_and_for_what_comes(group: Cgroup) -> None:
    affinity = "import os; print(os.sched_getaffinity(0), flush=True)"
    with process_in(group, "sys.stdin.readline(); " + affinity) as process:
        group.update(Limits(cpuset=(0,)))
        assert process.communicate("\n", timeout=10)[0] == "{0}\n"

    assert run_in(group, affinity) == (0, "{0}\n")


@needs("cgroup-io")
def test_what_is_read_and_written_on_disk_is_counted_and_can_be_limited(tree: CgroupTree, tmp_path: Path) -> None:
    if os.stat(tmp_path).st_dev >> 8 == 0:
        pytest.skip("the folder for temporary files is on no disk")
    group = tree.create("io", Limits(io_bytes_per_second=16 * MIB))
    data = tmp_path / "data"
    code = f"""
import mmap, os, time
target = os.open({str(data)!r}, os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
begin = time.monotonic()
for _ in range(4): os.write(target, mmap.mmap(-1, 1 << 20))
print(time.monotonic() - begin)
"""
    try:
        returncode, seconds = run_in(group, code)
        written = group.counters().io_write_bytes
    finally:
        group.remove()
        group.close()

    assert returncode == 0
    assert float(seconds) > 0.1
    assert written is not None
    assert written >= 4 * MIB


@needs("cgroup-freezer")
def test_what_is_frozen_stands_still_until_it_is_thawed(group: Cgroup) -> None:
    with process_in(group, "while True: print(sys.stdin.readline(), end='', flush=True)") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        group.freeze()
        process.stdin.write("hello\n")
        process.stdin.flush()
        assert select.select([process.stdout], [], [], 0.2)[0] == []

        group.thaw()
        assert process.stdout.readline() == "hello\n"


def test_the_unified_tree_alone_freezes_and_kills_and_refuses_the_limits_it_lacks(run_name: str, tmp_path: Path) -> None:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists() or Machine().own_folder("") is None:
        pytest.skip("this machine is not hybrid")
    with alone_in_a_group():
        _check_unified_tree(run_name, without_v1(tmp_path))


@contextmanager
def alone_in_a_group() -> Iterator[None]:
    """Other workers of xdist are in the group of this process, which may then not be divided."""
    own = Machine().own_folder("")
    assert own is not None
    group = Path(own, f"alone-{os.getpid()}")
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text("0")
        yield
    finally:
        Path(own, "cgroup.procs").write_text("0")
        group.rmdir()


def _check_unified_tree(run_name: str, machine: Machine) -> None:
    tree = open_tree(run_name, machine)
    try:
        assert tree.kind == "v2"
        assert {"memory", "cpus", "pids", "io", "cpuset"} <= tree.lacks.keys()
        with pytest.raises(HostUnsupported, match="memory cannot be held here"):
            tree.create("box", Limits(memory_bytes=MIB))
        group = tree.create("box", Limits())
        with process_in(group) as process:
            group.freeze()
            group.thaw()
            assert group.members() == [process.pid]
            assert group.counters().pressure is not None
            group.kill_all()
            assert process.wait(timeout=5) == -9
        group.remove()
        group.close()
    finally:
        tree.remove()
    assert folders_of(run_name) == []
