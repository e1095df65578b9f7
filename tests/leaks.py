"""What a test has left on the machine: processes, mounts, cgroups, links, descriptors, folders.

Ours are: descendants of this process, which adopts its orphans; and all that is named `lxsandbox…` and belongs to no run of
another live process. The service of the run that the suite itself is may live on; nothing that a test had from it may.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lxsandbox import wire

__all__ = ["Holdings", "adopt_orphans", "left_behind", "reap_adopted"]

DEADLINE_SECONDS = 15.0
PR_SET_CHILD_SUBREAPER = 36
PF_KTHREAD = 0x00200000  # include/linux/sched.h, in the flags of proc_pid_stat(5)
# Hundreds, which would be read after each test. Their numbers come again only when the kernel is through with all others.
_kernel_threads: set[str] = set()
# What a process that has not exec'ed since was found to be: its depth and its command, each a file of /proc to read.
_known: dict[tuple[bytes, ...], tuple[int, bytes]] = {}
_MOST_KNOWN = 10_000
SERVICE = b"lxsandbox.service"
# Under xdist the workers share one service, so what it holds says nothing about this worker's test.
SHARED_RUN = "PYTEST_XDIST_WORKER" in os.environ


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent dies (prctl(2)), so that none escapes the count."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """One process as /proc shows it. `depth` is how many pid namespaces it is in: more than ours means a sandbox."""

    pid: int
    parent: int
    started: int
    state: str
    depth: int
    command: bytes

    @property
    def run(self) -> str:
        """The name of the run whose service this is; empty for any other process."""
        words = self.command.split(b"\0")
        if SERVICE not in words or b"--folder" not in words:
            return ""
        return os.path.basename(os.fsdecode(words[words.index(b"--folder") + 1]))

    @property
    def is_pytest(self) -> bool:
        """Another suite on this machine makes groups and links of its own, and nothing tells them from ours."""
        return any(os.path.basename(word) in (b"pytest", b"-mpytest") for word in self.command.split(b"\0")[:4])

    def __str__(self) -> str:
        # Without its state: what is the same process before and after a test is to be the same text.
        return f"pid {self.pid} {self.command.replace(bytes(1), b' ').decode(errors='replace').strip()[:120]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Holdings:
    """What there is at one moment, as text that a failure can print, by kind."""

    processes: frozenset[str]
    mounts: frozenset[str]
    cgroups: frozenset[str]
    links: frozenset[str]
    descriptors: frozenset[str]
    folders: frozenset[str]
    service_runs: bool
    alone: bool  # else groups and links, which may be another suite's, were not looked at

    @classmethod
    def now(cls, session_run: str) -> Holdings:
        table = {process.pid: process for process in _processes()}
        ours = _descendants(table, os.getpid())
        foreign = {name for pid in table.keys() - ours for name in (table[pid].run, *_grouped_runs(pid)) if name}
        alone = not any(process.is_pytest for pid, process in table.items() if pid not in ours | _ancestors(table))
        stock = _stock(session_run)
        kept = _kept_by_the_session(table, ours, session_run) | set(stock)
        return cls(
            processes=frozenset(str(table[pid]) for pid in ours - kept),
            mounts=_without(foreign, _mounts()),
            cgroups=_without({*foreign, *stock.values(), *({session_run} if SHARED_RUN else ())}, _cgroups())
            if alone
            else frozenset(),
            links=frozenset(os.listdir("/sys/class/net")) if alone else frozenset(),
            descriptors=_descriptors(),
            folders=_without({*foreign, session_run}, _folders()),
            service_runs=any(session_run in process.run for process in table.values() if process.run),
            alone=alone,
        )

    def beyond(self, before: Holdings, session_run: str) -> dict[str, list[str]]:
        """What there is now and was not before, by kind."""
        started = self.service_runs and not before.service_runs
        found = {
            kind: sorted(getattr(self, kind) - getattr(before, kind))
            for kind in ("processes", "mounts", "cgroups", "links", "descriptors", "folders")
        }
        if not before.alone:
            found["cgroups"] = found["links"] = []
        if started:  # by this test, for all that follow: its connection and its group are meant to stay
            found["descriptors"] = []
            found["cgroups"] = [path for path in found["cgroups"] if session_run not in path]
        return {kind: names for kind, names in found.items() if names}


def left_behind(before: Holdings, session_run: str) -> dict[str, list[str]]:
    """What a test has left, once what ends by itself has ended; the wait is bounded by DEADLINE_SECONDS."""
    until = time.monotonic() + DEADLINE_SECONDS
    while True:
        reap_adopted()
        found = Holdings.now(session_run).beyond(before, session_run)
        if not found or time.monotonic() > until:
            return found
        gc.collect()  # an object in a cycle still has its descriptor
        select.select([], [], [], 0.01)  # the kernel tells nobody that a namespace or a group has gone


def _stock(session_run: str) -> dict[int, str]:
    """What the suite's own service has made ahead and nobody has had yet: the pid of each init, and its name."""
    socks = Path(os.environ.get("LXSANDBOX_RUNTIME_DIR", "/nonexistent")).glob(f"*{session_run}*/socket")
    for path in socks:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            try:
                sock.connect(str(path))
                wire.send(sock, {"id": 1, "op": "hello", "observer": True})
                wire.receive(sock)
                wire.send(sock, {"id": 2, "op": "list"})
                answer = wire.receive(sock)
            except OSError:
                return {}  # it has just ended
        if answer is not None:
            return {each["pid"]: each["id"] for each in answer[0]["ok"]["stock"]}
    return {}


def _processes() -> Iterator[Process]:
    for name in os.listdir("/proc"):
        if name.isdigit() and name not in _kernel_threads:
            try:
                stat = _read(f"/proc/{name}/stat")
                fields = stat.rpartition(b")")[2].split()
                if int(fields[6]) & PF_KTHREAD:
                    _kernel_threads.add(name)
                    continue
                depth, command = _depth_and_command(name, fields)
            except OSError:
                continue  # it has just ended
            yield Process(
                pid=int(name),
                state=fields[0].decode(),
                parent=int(fields[1]),
                started=int(fields[19]),
                depth=depth,
                command=command or stat.split(b"(", 1)[1].rpartition(b")")[0],
            )


def _depth_and_command(name: str, fields: list[bytes]) -> tuple[int, bytes]:
    """As they are now, or were when it had the same start and the same arguments, by where they lie (proc_pid_stat(5))."""
    key = (name.encode(), fields[19], *fields[45:49])
    found = _known.get(key)
    if found is None:
        status = _read(f"/proc/{name}/status")
        namespaces = next((line for line in status.splitlines() if line.startswith(b"NSpid:")), b"NSpid: 0")
        found = len(namespaces.split()) - 1, _read(f"/proc/{name}/cmdline")
        if fields[45] != b"0":  # else nothing tells an exec: somebody else's, or a zombie
            if len(_known) >= _MOST_KNOWN:
                _known.clear()
            _known[key] = found
    return found


def _read(path: str) -> bytes:
    """A file of /proc, all of it: not by way of pathlib and a decoder, which take longer than the kernel."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = block = os.read(fd, 1 << 16)
        while len(block) == 1 << 16:  # less is the end, and half of the time it takes
            data += (block := os.read(fd, 1 << 16))
        return data
    finally:
        os.close(fd)


def _grouped_runs(pid: int) -> set[str]:
    """The runs in whose cgroups a process is."""
    try:
        return {name.decode(errors="replace") for name in re.findall(rb"/lxsandbox-([^/\n]+)", _read(f"/proc/{pid}/cgroup"))}
    except OSError:
        return set()  # it has ended


def _descendants(table: dict[int, Process], root: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    waiting = list(children.get(root, ()))
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting += children.get(pid, ())
    return found


def _ancestors(table: dict[int, Process]) -> set[int]:
    found = {os.getpid()}
    process = table.get(os.getppid())
    while process:
        found.add(process.pid)
        process = table.get(process.parent)
    return found


def _kept_by_the_session(table: dict[int, Process], ours: set[int], session_run: str) -> set[int]:
    """The suite's own service and its helpers; under xdist, its sandboxes too."""
    own_depth = table[os.getpid()].depth
    kept: set[int] = set()
    for pid in ours:
        if table[pid].run and session_run in table[pid].run:
            below = _descendants(table, pid)
            kept |= {pid} | {each for each in below if SHARED_RUN or table[each].depth == own_depth}
    return kept


def reap_adopted() -> None:
    """Take the exit status of adopted orphans that have ended; a child that somebody here still waits for is left alone."""
    try:
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return  # as nearly always: not one has
    except ChildProcessError:
        return
    ended = [process.pid for process in _processes() if process.parent == os.getpid() and process.state == "Z"]
    if not ended:
        return
    waited_for = {popen.pid for popen in gc.get_objects() if type(popen) is subprocess.Popen and popen.returncode is None}
    for pid in set(ended) - waited_for:
        os.waitpid(pid, os.WNOHANG)


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
        point = line.split()[4]
        if "lxsandbox" in point:
            yield point


def _cgroups() -> Iterator[str]:
    waiting = ["/sys/fs/cgroup"]
    while waiting:
        folder = waiting.pop()
        if "lxsandbox-" in folder:
            yield folder
        try:
            # A folder with two links has none below: its dozens of files need not be listed, which is what takes the time.
            if os.stat(folder).st_nlink != 2:
                with os.scandir(folder) as entries:
                    waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            continue  # it has just gone


def _descriptors() -> frozenset[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            continue  # the listing's own
    return frozenset(found)


def _folders() -> Iterator[str]:
    """Run folders, and temporary ones of ours, one level deep: the folder that holds them all may stay."""
    bases = {os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/dev/shm", "/run", "/tmp"}
    holders = {path for base in filter(os.path.isdir, bases) for path in Path(base).glob("lxsandbox*")}
    holders.add(Path(os.environ.get("LXSANDBOX_RUNTIME_DIR", "/nonexistent")))
    for path in holders:
        if path.is_dir() and not path.is_symlink() and os.access(path, os.R_OK):
            yield from (str(below) for below in path.iterdir())


def _without(runs: Iterable[str], names: Iterable[str]) -> frozenset[str]:
    names = list(names)
    return frozenset(name for name in names if not any(run and run in name for run in runs))
