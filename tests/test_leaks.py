"""The leak check finds what it is there to find; a check that finds nothing proves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import leaks
import pytest
from needs import needs

RUN = "no-such-run"


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, list[str]]]:
    """What there is beyond what there was when the test began, without the wait."""
    monkeypatch.setattr(leaks, "DEADLINE_SECONDS", 0.0)
    monkeypatch.setattr(leaks.Process, "is_pytest", False)  # whoever else tests on this machine makes no such names
    before = leaks.Holdings.now(RUN)
    return lambda: leaks.left_behind(before, RUN)


def test_a_process_is_found(left: Callable[[], dict[str, list[str]]]) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        assert [name.startswith(f"pid {process.pid} ") for name in left()["processes"]] == [True]


def test_an_orphan_is_found(left: Callable[[], dict[str, list[str]]]) -> None:
    there, here = os.pipe()
    code = "import subprocess; print(subprocess.Popen(['cat'], stdout=-3, stderr=-3).pid)"
    done = subprocess.run([sys.executable, "-c", code], stdin=there, capture_output=True, text=True, check=True)
    os.close(there)
    found = left()["processes"]
    os.close(here)
    assert [name.startswith(f"pid {int(done.stdout)} ") for name in found] == [True]


def test_a_descriptor_is_found(left: Callable[[], dict[str, list[str]]], tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file:
        assert left()["descriptors"] == [f"{file.fileno()} -> {tmp_path / 'file'}"]


def test_a_folder_is_found(left: Callable[[], dict[str, list[str]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lxsandbox-base" / "some-run").mkdir(parents=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert left()["folders"] == [str(tmp_path / "lxsandbox-base" / "some-run")]


@needs("root")
def test_a_mount_is_found(left: Callable[[], dict[str, list[str]]], tmp_path: Path) -> None:
    point = tmp_path / "lxsandbox-mount"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", point], check=True)
    try:
        found = left()
    finally:
        subprocess.run(["umount", point], check=True)
    assert found["mounts"] == [str(point)]


@needs("root", "cgroup-pids")
def test_a_cgroup_is_found(left: Callable[[], dict[str, list[str]]]) -> None:
    v1 = Path("/sys/fs/cgroup/pids")
    folder = (v1 if v1.is_dir() else v1.parent) / f"lxsandbox-{os.getpid()}"
    folder.mkdir()
    try:
        found = left()
    finally:
        folder.rmdir()
    assert found["cgroups"] == [str(folder)]


def test_what_ends_by_itself_is_no_leak() -> None:
    before = leaks.Holdings.now(RUN)
    subprocess.run(["sh", "-c", "sleep 0.2 > /dev/null 2>&1 &"], check=True)
    assert leaks.left_behind(before, RUN) == {}


def test_the_exit_status_of_a_child_is_left_to_its_parent() -> None:
    process = subprocess.Popen(["false"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    leaks.reap_adopted()
    assert process.wait() == 1
