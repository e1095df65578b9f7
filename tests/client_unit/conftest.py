"""A small service and a small init that speak the protocol from a thread: commands and files are those of a scratch folder.

They let the client be tested with no namespace and no root; what only a real sandbox can show is tested with real ones.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lxsandbox import wire
from lxsandbox.sandbox.channel import Channel
from lxsandbox.sandbox.connection import Hello, ServiceConnection
from lxsandbox.sandbox.sandbox import Sandbox

Answer = tuple[dict[str, Any], list[int]]


class Peer:
    """Answers each request on `there` by the method `do_<op>`, until the other end closes or `stop` is called."""

    def __init__(self) -> None:
        self.here, self.there = wire.pair()
        self.asked: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._serve, name=type(self).__name__)
        self._thread.start()

    def _serve(self) -> None:
        try:
            while packet := wire.receive(self.there):
                message, fds = packet
                self.asked.append(message)
                self.answer(message, fds)
        except OSError:
            return

    def answer(self, message: dict[str, Any], fds: list[int]) -> None:
        fields = {name: value for name, value in message.items() if name not in ("id", "op")}
        try:
            ok, out = getattr(self, f"do_{message['op']}")(fds, **fields)
            reply: dict[str, Any] = {"id": message["id"], "ok": ok}
        except OSError as error:
            out, reply = [], {"id": message["id"], "error": {"kind": "OSError", "errno": error.errno, "filename": "/"}}
        for fd in fds:
            os.close(fd)
        wire.send(self.there, reply, out)
        for fd in out:
            os.close(fd)

    def hang_up(self) -> None:
        """End the connection, as a peer that was killed would; the thread ends with it."""
        self.there.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.there.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.there.close()


class SmallInit(Peer):
    """Runs commands on the host, each a session of its own, and keeps files below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self._waiters: list[threading.Thread] = []
        self._terminals: list[int] = []
        super().__init__()

    def inside(self, path: str) -> str:
        return f"{self.root}{path}"

    def do_exec(self, fds: list[int], *, args: list[str], env: dict[str, str] | None, pty: bool, **_: Any) -> Answer:
        out: list[int] = []
        if pty:
            master, slave = os.openpty()
            out, fds[:] = [master], [slave]
        stdin, stdout, stderr = fds * 3 if pty else fds
        process = subprocess.Popen(
            args, stdin=stdin, stdout=stdout, stderr=stderr, env={**os.environ, **(env or {})}, start_new_session=True
        )
        self.running[process.pid] = process
        self._waiters.append(threading.Thread(target=self._announce, args=(process,)))
        return {"pid": process.pid}, out

    def answer(self, message: dict[str, Any], fds: list[int]) -> None:
        try:
            super().answer(message, fds)
        finally:
            if self._waiters and self._waiters[-1].ident is None:
                self._waiters[-1].start()  # the exit event comes after the reply

    def _announce(self, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        try:
            wire.send(self.there, {"event": "exit", "pid": process.pid, "status": status})
        except OSError:
            return

    def do_signal(self, _: list[int], *, pid: int, signal: int) -> Answer:
        os.kill(pid, signal)
        return {}, []

    def do_kill_tree(self, _: list[int], *, pid: int) -> Answer:
        os.killpg(pid, signal.SIGKILL)
        return {}, []

    def do_open(self, _: list[int], *, path: str, flags: int, mode: int) -> Answer:
        return {}, [os.open(self.inside(path), flags | os.O_CLOEXEC, mode)]

    def do_stat(self, _: list[int], *, path: str, follow: bool) -> Answer:
        found = os.stat(self.inside(path), follow_symlinks=follow)
        names = ("mode", "size", "uid", "gid", "mtime_ns", "nlink", "ino", "dev")
        return {name: getattr(found, f"st_{name}") for name in names}, []

    def do_list(self, _: list[int], *, path: str) -> Answer:
        names = [[entry.name, _kind(entry)] for entry in os.scandir(self.inside(path))]
        return {"names": names}, []

    def do_mkdir(self, _: list[int], *, path: str, mode: int, parents: bool, exist_ok: bool) -> Answer:
        Path(self.inside(path)).mkdir(mode, parents, exist_ok)
        return {}, []

    def do_unlink(self, _: list[int], *, path: str) -> Answer:
        os.unlink(self.inside(path))
        return {}, []

    def do_rmdir(self, _: list[int], *, path: str) -> Answer:
        os.rmdir(self.inside(path))
        return {}, []

    def do_readlink(self, _: list[int], *, path: str) -> Answer:
        return {"target": os.readlink(self.inside(path))}, []

    def do_symlink(self, _: list[int], *, path: str, target: str) -> Answer:
        os.symlink(target, self.inside(path))
        return {}, []

    def do_rename(self, _: list[int], *, path: str, target: str) -> Answer:
        os.rename(self.inside(path), self.inside(target))
        return {}, []

    def do_chmod(self, _: list[int], *, path: str, mode: int) -> Answer:
        os.chmod(self.inside(path), mode)
        return {}, []

    def do_socket(self, _: list[int], *, family: int, type: int) -> Answer:  # noqa: A002
        return {}, [socket.socket(family, type).detach()]

    def stop(self) -> None:
        super().stop()
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):  # its waiter may just have reaped it
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
        for waiter in self._waiters:
            waiter.join()


class SmallService(Peer):
    """Gives out one sandbox, whose init is `init`, and tells `death` of it."""

    def __init__(self, init: SmallInit) -> None:
        self.init = init
        self.death: dict[str, Any] | None = None
        super().__init__()

    def do_create(self, _: list[int], **__: Any) -> Answer:
        return {"sandbox": "s1", "name": "box", "hostname": "box", "pid": 4711}, [os.dup(self.init.here.fileno())]

    def do_close(self, _: list[int], **__: Any) -> Answer:
        return {"stats": {"memory_bytes": 1}, "death": self.death or {"reason": "closed"}}, []

    def do_death(self, _: list[int], **__: Any) -> Answer:
        return {"death": self.death}, []

    def do_pause(self, _: list[int], **__: Any) -> Answer:
        return {}, []

    do_resume = do_update = do_pause

    def do_leave(self, _: list[int]) -> Answer:
        return {"leaked": {}}, []


def _kind(entry: os.DirEntry[str]) -> str:
    mode = entry.stat(follow_symlinks=False).st_mode
    return {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}.get(stat.S_IFMT(mode), "other")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What the small init takes for the root of the sandbox."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def init(root: Path) -> Iterator[SmallInit]:
    peer = SmallInit(root)
    yield peer
    peer.here.close()
    peer.stop()


@pytest.fixture
def service(init: SmallInit) -> Iterator[SmallService]:
    peer = SmallService(init)
    yield peer
    peer.stop()


@pytest.fixture
def connection(service: SmallService, tmp_path: Path) -> Iterator[ServiceConnection]:
    channel = Channel(service.here)
    hello = Hello(run="run", cgroups="none", mapping="single", pid=1)
    yield ServiceConnection(channel, str(tmp_path), hello)
    channel.close()


@pytest.fixture
def box(connection: ServiceConnection) -> Iterator[Sandbox]:
    with Sandbox(connection=connection) as sandbox:
        yield sandbox


@pytest.fixture
def peer_of() -> Iterator[Callable[[type[Peer]], tuple[Peer, Channel]]]:
    """Starts a peer of the given class, and gives it together with a channel to it."""
    made: list[tuple[Peer, Channel]] = []

    def start(kind: type[Peer]) -> tuple[Peer, Channel]:
        peer = kind()
        made.append((peer, Channel(peer.here)))
        return made[-1]

    yield start
    for peer, channel in made:
        channel.close()
        peer.stop()
