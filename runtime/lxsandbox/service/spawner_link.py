"""The service's end of the spawner: starting it, asking it, and starting another when it has died."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence

from lxsandbox import wire
from lxsandbox.errors import HostUnsupported, SandboxError
from lxsandbox.host import probe
from lxsandbox.service.identity import Mapping, map_process
from lxsandbox.service.requests import DEADLINE_SECONDS, Reply, Requests
from lxsandbox.syscalls.ends import ended_within

__all__ = ["SpawnerDied", "SpawnerLink"]

# LD_BIND_NOW (ld.so(8)): each function is looked up once and here, and not by every init that calls it first.
_SPAWNER_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "LD_BIND_NOW": "1"}


class SpawnerDied(SandboxError):
    """It ended over a request; another one may succeed."""

    def __init__(self) -> None:
        super().__init__("the spawner has died", hint="it was killed, or crashed; try again")


class SpawnerLink:
    """Requests to the spawner, answered in order. A spawner that has died is replaced at the next request."""

    def __init__(self, mapping: Mapping, *, idmap: bool, descriptors: tuple[int, int]) -> None:
        """`descriptors`: the bounds of RLIMIT_NOFILE, soft and hard, that the sandboxes get."""
        self._mapping = mapping
        self._idmap = idmap
        self._descriptors = descriptors
        self.userns: int | None = None  # with the run's mapping, for idmapped mounts
        self._home: int | None = None  # of a plain user: the user namespace of the first spawner, which its successors join
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: Requests | None = None
        self._first_words: asyncio.Future[wire.Message] | None = None  # while it starts: what it says unasked
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The spawner's process id, while it runs."""
        return self._process.pid if self._process is not None and self._requests is not None else None

    async def start(self) -> None:
        """Start a spawner unless there is one. Raises HostUnsupported when the host lets this user make no user namespace."""
        async with self._starting:
            if self._requests is None:
                await self._start()

    async def _start(self) -> None:
        self._reap()
        mode = "host" if not self._mapping.spawner_uids else "unshare" if self._home is None else f"join:{self._home}"
        first_words = self._first_words = asyncio.get_running_loop().create_future()
        self._requests = self._launch(mode)
        try:
            if mode == "unshare":
                await self._map_it(first_words)
            await self._prepare()
        except SpawnerDied:
            if first_words.done() and not first_words.exception() and "message" in first_words.result():
                raise await _refused(first_words.result()["message"]) from None
            raise
        finally:
            self._first_words = None

    def _launch(self, mode: str) -> Requests:
        ours, theirs = wire.pair()
        script = os.path.join(os.path.dirname(__file__), "..", "spawner", "__main__.py")
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", os.path.abspath(script), str(theirs.fileno()), mode],
                pass_fds=[theirs.fileno(), *([] if self._home is None else [self._home])],
                stdin=subprocess.DEVNULL,
                env=_SPAWNER_ENVIRONMENT,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for pytest, which then lets go
            )
        resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, self._descriptors)
        return Requests(ours, died=SpawnerDied, gone=self._gone, told=self._told)

    async def _prepare(self) -> None:
        try:
            _, fds = await self._ask({"op": "prepare", "map": self._mapping.sandbox_map, "idmap": self._idmap})
        except OSError as error:
            raise await _refused(error.strerror or str(error)) from error
        if self.userns is None and fds:
            self.userns = fds.pop()
        for fd in fds:
            os.close(fd)
        if self._mapping.spawner_uids and self._home is None and self._process is not None:
            try:
                self._home = os.open(f"/proc/{self._process.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise SpawnerDied from error

    async def _map_it(self, unshared: asyncio.Future[wire.Message]) -> None:
        message = await asyncio.wait_for(unshared, DEADLINE_SECONDS)
        if message["event"] == "refused":
            raise await _refused(message["message"])
        assert self._process is not None
        try:
            await asyncio.to_thread(map_process, self._process.pid, self._mapping)
        except (SandboxError, OSError) as error:
            if self._process.poll() is not None:  # it was killed while it was mapped: no fault of this host
                raise SpawnerDied from error
            raise

    def _told(self, message: wire.Message) -> None:
        if self._first_words is not None and not self._first_words.done():
            self._first_words.set_result(message)

    def _gone(self) -> None:
        self._requests = None
        if self._first_words is not None and not self._first_words.done():
            self._first_words.set_exception(SpawnerDied())

    def _reap(self) -> None:
        if self._process is not None:
            if not ended_within(self._process.pid, 5):
                self._process.kill()
            self._process.wait()
            self._process = None

    async def ask(self, request: wire.Message, fds: Sequence[int] = ()) -> Reply:
        """Send a request and wait for its answer. Raises OSError as the spawner met it, SpawnerDied when it died over it."""
        if self._requests is None:
            await self.start()
        return await self._ask(request, fds)

    async def _ask(self, request: wire.Message, fds: Sequence[int] = ()) -> Reply:
        if self._requests is None:
            raise SpawnerDied
        message, passed = await self._requests.ask(request, fds)
        if "error" in message:
            raise OSError(message["error"]["errno"], message["error"]["message"], message["error"].get("filename"))
        return message["ok"], passed

    def stop(self) -> None:
        """End the spawner. Its clones are not its children and stay."""
        for fd in (self.userns, self._home):
            if fd is not None:
                os.close(fd)
        self.userns = self._home = None
        if self._requests is not None:
            self._requests.close()
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._reap()


async def _refused(why: str) -> HostUnsupported:
    """The error for a host that lets this user make no user namespace, with the one thing to do that `doctor` would name."""
    (found,) = await asyncio.to_thread(probe, ["user-namespaces"])
    return HostUnsupported(
        f"this host lets you make no user namespace: {why}",
        hint=found.fix or "`lxsandbox doctor` tells more",
        capability="user-namespaces",
    )
