"""The spawner stays small: every init is a copy of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from events import until
from needs import needs

import lxsandbox.cli
from lxsandbox import Sandbox

SOURCE_ROOT = str(Path(lxsandbox.cli.__file__).resolve().parents[2])
HEAVY = ("asyncio", "dataclasses", "hypothesis", "inspect", "lxsandbox.cgroups", "lxsandbox.service", "pyroute2", "pytest",
         "subprocess", "tarfile", "threading", "typing", "zstandard")  # fmt: skip
MOST_KIB = 14 * 1024


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def spawner_of(box: Sandbox) -> int:
    """The one child of the service that runs the spawner's program in this pid namespace: its inits are copies of it."""
    service = box._control.connection.hello.pid
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{name}/cmdline").read_bytes()
            if b"spawner/__main__.py" in command and parent_of(int(name)) == service and depth(int(name)) == depth(os.getpid()):
                found.append(int(name))
        except OSError:
            continue
    (pid,) = found
    return pid


def depth(pid: int) -> int:
    """How many pid namespaces the process is in."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("NSpid:")]
    return len(line.split()) - 1


def kib(pid: int, field: str) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field + ":")]
    return int(line.split()[1])


def test_it_loads_nothing_that_an_init_has_no_use_for() -> None:
    code = f"import sys; sys.path.insert(0, {SOURCE_ROOT!r}); import lxsandbox.spawner.loop; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)

    loaded = set(done.stdout.split())
    assert not loaded & set(HEAVY)
    assert {name.split(".")[1] for name in loaded if name.startswith("lxsandbox.")} <= {
        "init", "rootfs", "security", "spawner", "syscalls", "wire",
    }  # fmt: skip


@needs("user-namespaces", "overlayfs")
def test_its_memory_is_bounded(sandbox: Sandbox) -> None:
    assert kib(spawner_of(sandbox), "VmRSS") <= MOST_KIB


@needs("user-namespaces", "overlayfs")
def test_it_has_one_thread_and_little_in_its_environment(sandbox: Sandbox) -> None:
    pid = spawner_of(sandbox)

    assert kib(pid, "Threads") == 1
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        pytest.skip("a plain user may not look into a process of another user namespace")
    assert {entry.split(b"=")[0] for entry in environment.split(b"\0") if entry} <= {
        b"PATH", b"LC_ALL", b"LC_CTYPE", b"LD_BIND_NOW",
    }  # fmt: skip


@needs("user-namespaces", "overlayfs")
def test_it_leaves_no_descriptor_open_for_a_sandbox(sandbox: Sandbox) -> None:
    pid = spawner_of(sandbox)

    def count() -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    try:
        before = count()
    except PermissionError:
        pytest.skip("a plain user may not look into a process of another user namespace")
    connection = sandbox._control.connection
    for _ in range(5):
        Sandbox(connection=connection).close()
    until(lambda: count() <= before, "its descriptors are closed")


@needs("user-namespaces", "overlayfs")
def test_an_init_shares_its_pages_with_the_spawner(sandbox: Sandbox) -> None:
    sandbox.run(["true"], check=True)
    try:
        lines = Path(f"/proc/{sandbox.pid}/smaps_rollup").read_text().splitlines()
    except PermissionError:
        pytest.skip("a plain user may not look into an init")
    (own,) = [int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:")]
    assert own <= (1024 if sys.version_info >= (3, 12) else 2048)
