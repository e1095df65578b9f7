"""Where v2 groups are made and what is written to them, on a folder of files: this needs no v2 machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from cgroups.groups import FakeKernel

from lxsandbox.cgroups import open_tree
from lxsandbox.errors import HostUnsupported
from lxsandbox.spec import Limits

ALL = Limits(memory_bytes=4096, swap_bytes=0, cpus=1.5, pids=7, io_bytes_per_second=1000, cpuset=(0, 2))


def _values(folder: Path) -> dict[str, str]:
    names = ("memory.max", "memory.swap.max", "cpu.max", "pids.max", "io.max", "cpuset.cpus", "memory.oom.group")
    return {name: (folder / name).read_text(encoding="utf-8").strip() for name in names}


def test_every_limit_has_its_file_and_goes_back_to_none(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path)
    group = open_tree("r", kernel.machine).create("box", ALL)
    folder = kernel.own / "lxsandbox-r/box"

    assert _values(folder) == {
        "memory.max": "4096",
        "memory.swap.max": "0",
        "cpu.max": "150000 100000",
        "pids.max": "7",
        "io.max": "254:0 rbps=1000 wbps=1000",
        "cpuset.cpus": "0,2",
        "memory.oom.group": "0",
    }
    group.update(Limits(swap_bytes=None))
    group.close()
    assert _values(folder) == {
        "memory.max": "max",
        "memory.swap.max": "max",
        "cpu.max": "max 100000",
        "pids.max": "max",
        "io.max": "254:0 rbps=max wbps=max",
        "cpuset.cpus": "",
        "memory.oom.group": "0",
    }


def test_the_controllers_are_passed_on_to_the_groups(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path)

    tree = open_tree("r", kernel.machine)

    assert (tree.kind, tree.lacks) == ("v2", {})
    for folder in (kernel.own, kernel.own / "lxsandbox-r"):
        assert (folder / "cgroup.subtree_control").read_text(encoding="utf-8").startswith("+")


def test_this_process_moves_to_a_leaf_of_its_own_which_is_no_sandbox(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path)
    (kernel.own / "cgroup.procs").write_text(f"{kernel.machine.pid}\n", encoding="utf-8")

    tree = open_tree("r", kernel.machine)

    assert (kernel.own / "lxsandbox-r/service/cgroup.procs").read_text(encoding="utf-8") == str(kernel.machine.pid)
    assert tree.count() == 0


def test_other_processes_are_not_moved(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path)
    (kernel.own / "cgroup.procs").write_text(f"1\n{kernel.machine.pid}\n", encoding="utf-8")
    (kernel.root / "cgroup.events").write_text("populated 1\n", encoding="utf-8")
    (kernel.root / "cgroup.procs").write_text("1\n", encoding="utf-8")

    tree = open_tree("r", kernel.machine)

    assert tree.kind == "none"
    assert "other processes than the service" in tree.lacks["memory"]
    assert not (kernel.own / "lxsandbox-r").exists()


def test_an_empty_root_of_the_mounted_tree_will_do_where_there_is_no_systemd(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path)
    (kernel.own / "cgroup.procs").write_text("1\n", encoding="utf-8")
    for name, text in {"events": "populated 1\n", "procs": "", "controllers": "memory\n", "subtree_control": ""}.items():
        (kernel.root / f"cgroup.{name}").write_text(text, encoding="utf-8")

    tree = open_tree("r", kernel.machine)

    assert tree.kind == "v2"
    assert (kernel.root / "lxsandbox-r").is_dir()


@pytest.mark.parametrize(("uid", "manager"), [(0, "--system"), (1000, "--user")])
def test_a_group_that_is_not_ours_is_left_for_a_scope_of_systemd(tmp_path: Path, uid: int, manager: str) -> None:
    kernel = FakeKernel(tmp_path, uid=uid)
    kernel.forbidden.add(str(kernel.own))
    calls = kernel.add_systemd()

    tree = open_tree("r", kernel.machine)
    tree.create("box", Limits(memory_bytes=4096)).close()

    assert tree.kind == "v2"
    assert (kernel.root / "user.slice/lxsandbox.scope/lxsandbox-r/box/memory.max").read_text(encoding="utf-8") == "4096"
    call = calls.read_text(encoding="utf-8")
    assert call.startswith(f"{tmp_path} {manager} call org.freedesktop.systemd1 ")
    assert f"Delegate b true CollectMode s inactive-or-failed PIDs au 1 {kernel.machine.pid} 0" in call


def test_without_systemd_there_is_no_group_and_every_limit_is_refused_with_one_fix(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, uid=1000)
    kernel.forbidden |= {str(kernel.own), str(kernel.root)}

    tree = open_tree("r", kernel.machine)

    assert tree.kind == "none"
    assert set(tree.lacks) == {"memory", "swap", "cpus", "pids", "io", "cpuset", "freezer"}
    with pytest.raises(HostUnsupported, match="Permission denied, and there is no busctl") as raised:
        tree.create("box", Limits(memory_bytes=4096, swap_bytes=None))
    assert raised.value.capability == "cgroup-memory"
    assert raised.value.hint
    group = tree.create("box", Limits(swap_bytes=None))
    with pytest.raises(HostUnsupported, match="freezer"):
        group.freeze()
    group.kill_all()
    group.remove()
    tree.remove()


def test_a_user_without_a_session_is_told_to_linger(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, uid=987654)
    kernel.forbidden |= {str(kernel.own), str(kernel.root)}
    kernel.add_systemd()
    machine = type(kernel.machine)(
        proc=kernel.machine.proc, uid=987654, environ={"PATH": str(tmp_path / "bin")}, make_folder=kernel.make_folder
    )

    assert open_tree("r", machine).lacks["pids"].endswith("; run `loginctl enable-linger 987654`")


def test_a_controller_that_is_not_passed_on_is_a_lack_and_the_others_work(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path, controllers="cpu memory pids", uid=1000)

    tree = open_tree("r", kernel.machine)

    assert set(tree.lacks) == {"io", "cpuset"}
    assert "Delegate=" in tree.lacks["io"]
    with pytest.raises(HostUnsupported, match="the cpuset controller is not passed on"):
        tree.create("box", Limits(cpuset=(0,)))
    tree.create("box", Limits(memory_bytes=4096, pids=3, cpus=1)).close()
    assert tree.count() == 1


def test_the_figures_are_read_and_what_an_old_kernel_lacks_is_none(tmp_path: Path) -> None:
    kernel = FakeKernel(tmp_path)
    group = open_tree("r", kernel.machine).create("box", Limits())
    group.close()
    folder = kernel.own / "lxsandbox-r/box"
    texts = {
        "memory.current": "4096\n",
        "memory.events": "low 0\noom 2\noom_kill 1\n",
        "cpu.stat": "usage_usec 1500000\nthrottled_usec 250000\n",
        "io.stat": "254:0 rbytes=10 wbytes=20 rios=1\n253:0\n",
        "io.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=0\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")

    counters = group.counters()

    assert (counters.memory_bytes, counters.memory_peak_bytes, counters.oom_kills) == (4096, None, 1)
    assert (counters.cpu_seconds, counters.cpu_throttled_seconds) == (1.5, 0.25)
    assert (counters.io_read_bytes, counters.io_write_bytes) == (10, 20)
    assert counters.pressure == {"io": 1.5}
