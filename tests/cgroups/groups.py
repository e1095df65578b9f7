"""What the tests of control groups share: real processes in a group, machines with a part left out, a fake v2 kernel."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from lxsandbox.cgroups import Cgroup, Machine

__all__ = ["FakeKernel", "folders_of", "process_in", "run_in", "without_unified"]

# Waits for a line, so that it does nothing before it has been attached; then runs the code that came with it.
_STARTER = "import sys; sys.stdin.readline(); exec(sys.argv[1])"


@contextmanager
def process_in(group: Cgroup, code: str = "sys.stdin.readline()") -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `code` in the group. It may print a line to say how far it is; it is killed in the end."""
    command = [sys.executable, "-I", "-S", "-c", _STARTER, code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        try:
            group.attach(process.pid, cloned_into=False)
            process.stdin.write("\n")
            process.stdin.flush()
            yield process
        finally:
            group.kill_all()


def run_in(group: Cgroup, code: str) -> tuple[int, str]:
    """Run `code` in the group to its end: return code and output."""
    with process_in(group, code) as process:
        output, _ = process.communicate(timeout=60)
        return process.returncode, output


def folders_of(run_name: str) -> list[str]:
    """The folders of a run in all of this machine's hierarchies, found without the code under test."""
    command = ["find", "/sys/fs/cgroup", "-name", f"lxsandbox-{run_name}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()


def without_unified(folder: Path) -> Machine:
    """This machine, with its unified tree out of sight: what is left is plain v1."""
    return machine_with(folder, lambda line: " - cgroup2 " not in line)


def without_v1(folder: Path) -> Machine:
    """This machine, with only its unified tree in sight."""
    return machine_with(folder, lambda line: " - cgroup " not in line)


def machine_with(folder: Path, wanted: Callable[[str], bool]) -> Machine:
    """A `/proc` that shows the mounts for which `wanted(line)` holds, and everything else as it is."""
    (folder / "self").mkdir()
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "self/mountinfo").write_text("".join(line for line in mounts if wanted(line)), encoding="utf-8")
    (folder / "self/cgroup").write_text(Path("/proc/self/cgroup").read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "swaps").write_text("Filename Type Size Used Priority\n", encoding="utf-8")
    return Machine(proc=str(folder))


class FakeKernel:
    """A unified tree in a folder: it makes the files that a v2 kernel makes in a new group. This process is in `own`."""

    FILES: ClassVar = {
        "": {"cgroup.procs": "", "cgroup.subtree_control": "", "cgroup.freeze": "0\n", "cgroup.kill": ""},
        "memory": {"memory.max": "max\n", "memory.swap.max": "max\n", "memory.current": "0\n", "memory.oom.group": "0\n"},
        "pids": {"pids.max": "max\n", "pids.current": "0\n"},
        "cpu": {"cpu.max": "max 100000\n"},
        "io": {"io.max": "", "io.stat": ""},
        "cpuset": {"cpuset.cpus": "\n"},
    }

    def __init__(self, folder: Path, *, controllers: str = "cpuset cpu io memory pids", uid: int = 0) -> None:
        self.root = folder / "cgroup"
        self.own = self.root / "run.scope"
        self.controllers = controllers
        self.forbidden: set[str] = set()
        self._folder = folder
        for name in ("proc/self", "sys/block/vda", "bin", "cgroup"):
            (folder / name).mkdir(parents=True)
        self.write("proc/self/mountinfo", f"31 23 0:28 / {self.root} rw - cgroup2 cgroup2 rw\n")
        self.write("proc/self/cgroup", "0::/run.scope\n")
        self.write("proc/swaps", "Filename Type Size Used Priority\n/dev/vdb partition 1 0 -2\n")
        self.write("sys/block/vda/dev", "254:0\n")
        self.write("sys/block/vda/size", "2048\n")
        self.make_folder(str(self.own))
        self.machine = Machine(
            proc=str(folder / "proc"),
            sys=str(folder / "sys"),
            uid=uid,
            environ={"PATH": str(folder / "bin"), "XDG_RUNTIME_DIR": str(folder)},
            make_folder=self.make_folder,
        )

    def write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text, encoding="utf-8")

    def make_folder(self, path: str) -> None:
        if os.path.dirname(path) in self.forbidden:
            raise PermissionError(13, "Permission denied", path)
        os.makedirs(path)
        for controller, files in self.FILES.items():
            if not controller or controller in self.controllers.split():
                for file, text in files.items():
                    Path(path, file).write_text(text, encoding="utf-8")
        Path(path, "cgroup.controllers").write_text(self.controllers + "\n", encoding="utf-8")
        Path(path, "cgroup.events").write_text("populated 0\nfrozen 0\n", encoding="utf-8")

    def add_systemd(self) -> Path:
        """A `busctl` that does what systemd does for StartTransientUnit; returns the file in which it notes how it was called."""
        scope, calls = self.root / "user.slice/lxsandbox.scope", self._folder / "calls"
        self.make_folder(str(scope))
        note = f'echo "$XDG_RUNTIME_DIR $@" > {shlex.quote(str(calls))}'
        move = f"echo 0::/user.slice/lxsandbox.scope > {shlex.quote(str(self._folder / 'proc/self/cgroup'))}"
        busctl = self._folder / "bin/busctl"
        busctl.write_text(f"#!/bin/sh\n{note}\n{move}\n", encoding="utf-8")
        busctl.chmod(stat.S_IRWXU)
        return calls
