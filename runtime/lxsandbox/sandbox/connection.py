"""A client's connection to the service of its run, and the one that a process shares outside pytest.

The service owns policy; this side finds or starts it, asks, and says when it has gone.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

from lxsandbox.defaults import CACHE_DIR, CACHE_SIZE
from lxsandbox.errors import SandboxError, ServiceLost
from lxsandbox.sandbox.channel import Channel, ChannelClosed
from lxsandbox.sandbox.environment import shown_folders, shown_variables
from lxsandbox.sandbox.launching import dial, end_service, log_tail, start_lock, start_service
from lxsandbox.service.run_folder import let_go, make_run_folder, remove_run_folder, socket_path, usable
from lxsandbox.syscalls.ends import ended_within

if TYPE_CHECKING:
    from lxsandbox.images.transports import Pull

__all__ = ["Hello", "ServiceConnection", "default_connection", "release_default_connection"]

_START_ATTEMPTS = 3  # a service that was about to leave may take the connection and not answer
_END_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Hello:
    """What the service says of itself and of this host: `missing` is text, one for each thing that cannot be held here."""

    run: str
    cgroups: str
    mapping: str
    pid: int
    missing: tuple[str, ...] = ()


class ServiceConnection:
    """One client of a run's service. All that was made through it is removed when it leaves, or dies."""

    def __init__(self, channel: Channel, folder: str, hello: Hello, process: subprocess.Popen[bytes] | None = None) -> None:
        self.channel = channel
        self.folder = folder
        self.hello = hello
        self.owner_pid = os.getpid()
        self._process = process  # only where this client started the service
        self.made_run = False  # then the run is let go of with the service

    @classmethod
    def open(
        cls,
        folder: str | None = None,
        *,
        label: str = "",
        observer: bool = False,
        defaults: Mapping[str, Any] | None = None,
        start: bool = True,
        pull: Pull = "missing",
        offline: bool = False,
        lock: str | os.PathLike[str] | None = None,
        cache_dir: str | None = None,
        cache_size: int | str | None = None,
    ) -> Self:
        """Connect to the service of the run in `folder` (default: a new run), starting it where there is none.

        `observer`: a client that keeps nothing alive. `pull`: when a registry is asked for an image that this client's sandboxes
        are over; `offline`: nothing is fetched for them over the network; `lock`: a file of `lxsandbox image lock`, and only the
        images in it may be used. `cache_dir`: the absolute folder that images are kept in, and `cache_size`: how much of them
        stays, in bytes or as text; both are for the service that is started here. Raises ServiceLost where there is no service
        and `start` is False, or where it does not start.
        """
        greeting = {
            "label": label,
            "observer": observer,
            "visible": shown_folders(),
            "env": shown_variables(),
            "pull": pull,
            "offline": offline,
            "lock": "" if lock is None else os.path.abspath(lock),
            **({"defaults": dict(defaults)} if defaults else {}),
        }
        given = {CACHE_DIR: cache_dir, CACHE_SIZE: cache_size}
        environ = {name: str(value) for name, value in given.items() if value is not None}
        if folder is not None:
            return cls._join(folder, greeting, environ, start=start)
        return cls._begin(greeting, environ, start=start)

    @classmethod
    def _begin(cls, greeting: dict[str, Any], environ: dict[str, str], *, start: bool) -> Self:
        folder = make_run_folder()
        try:
            connection = cls._join(folder, greeting, environ, start=start)
        except BaseException:
            let_go(folder)
            remove_run_folder(folder)
            raise
        connection.made_run = True
        return connection

    @classmethod
    def _join(cls, folder: str, greeting: dict[str, Any], environ: dict[str, str], *, start: bool) -> Self:
        with usable(folder), start_lock(folder):
            for _ in range(_START_ATTEMPTS):
                if connection := cls._greet(folder, None, greeting):
                    return connection
                if start:
                    process = start_service(folder, environ)
                    if connection := cls._greet(folder, process, greeting):
                        return connection
                    end_service(process)
        raise ServiceLost(f"no sandbox service answers in {folder}", hint="`lxsandbox gc` removes what a dead one left")

    @classmethod
    def _greet(cls, folder: str, process: subprocess.Popen[bytes] | None, greeting: dict[str, Any]) -> Self | None:
        sock = dial(socket_path(folder))
        if sock is None:
            return None
        channel = Channel(sock)
        try:
            answer, _ = channel.call("hello", **greeting)
        except ChannelClosed:
            channel.close()
            return None
        except BaseException:
            channel.close()
            raise
        fields = {name: answer[name] for name in ("run", "cgroups", "mapping", "pid")}
        return cls(channel, folder, Hello(**fields, missing=tuple(answer.get("missing", ()))), process)

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        """The service's answer; descriptors that come with it are closed. Raises the service's error, or ServiceLost."""
        answer, fds = self._call(op, fields)
        for fd in fds:
            os.close(fd)
        return answer

    def request_channel(self, op: str, **fields: Any) -> tuple[dict[str, Any], Channel]:
        """The answer to `create` or `attach`, and the channel to the sandbox's init that comes with it."""
        answer, fds = self._call(op, fields)
        if len(fds) != 1:
            raise SandboxError(f"{op!r} was answered with {len(fds)} descriptors instead of one")
        return answer, Channel(socket.socket(fileno=fds[0]))

    def request_fd(self, op: str, **fields: Any) -> int:
        """The one descriptor that the service's answer brings, the caller's from then on. Raises as `request`."""
        _, fds = self._call(op, fields)
        if len(fds) != 1:
            raise SandboxError(f"{op!r} was answered with {len(fds)} descriptors instead of one")
        return fds[0]

    @property
    def lost(self) -> bool:
        """Whether the service has gone, or this connection has left it."""
        return self.channel.ended

    def leave(self) -> dict[str, Any]:
        """Have all that this connection owns removed, and close it. What is left of it all the same is returned, counted by kind.

        Raises ServiceLost where the service has gone already.
        """
        ends = True
        if self.made_run:
            let_go(self.folder)  # or the service could not remove it
        try:
            answer = self.request("leave")
            ends = bool(answer.get("last"))
            leaked: dict[str, Any] = answer.get("leaked", {})
            return leaked
        finally:
            self.channel.close()
            if self._process is not None and self.owner_pid == os.getpid():
                _part_with(self._process, ends=ends)

    def _call(self, op: str, fields: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        try:
            return self.channel.call(op, **fields)
        except ChannelClosed:
            self._raise_lost()

    def _raise_lost(self) -> NoReturn:
        error = ServiceLost(
            f"the sandbox service of this run (pid {self.hello.pid}) has gone, and its sandboxes with it",
            hint=f"see {self.folder}; it was killed, or crashed",
        )
        if tail := log_tail(self.folder):
            error.add_note(f"the end of its log:\n{tail}")
        raise error from None


def _part_with(process: subprocess.Popen[bytes], *, ends: bool) -> None:
    """Reap the service that this process started; or, where others still use it, let it go on as nobody's child."""
    if ends and ended_within(process.pid, _END_TIMEOUT_SECONDS):
        process.wait()
    if process.returncode is None:
        process.returncode = 0  # else Popen warns, when collected, that it still runs: which is meant


class _Shared:
    """The connection that sandboxes made outside pytest share, left when the last of them is closed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: ServiceConnection | None = None
        self.users = 0

    def forget(self) -> None:
        """In a forked child: it starts with none. The parent's goes on."""
        if self.connection is not None:
            self.connection.channel.close()
        self.lock, self.connection, self.users = threading.Lock(), None, 0


_shared = _Shared()
os.register_at_fork(after_in_child=_shared.forget)


def default_connection() -> ServiceConnection:
    """This process's shared connection, to a service of its own; started where need be, and counted.

    Give it back with `release_default_connection`, once for each time it was asked for.
    """
    with _shared.lock:
        current = _shared.connection
        if current is None or current.lost:
            current = _shared.connection = ServiceConnection.open(label="default")
            _shared.users = 0
        _shared.users += 1
        return current


def release_default_connection(connection: ServiceConnection) -> None:
    """One user less; the last one leaves the service, which then ends."""
    with _shared.lock:
        if _shared.connection is not connection:
            return  # lost, or left at exit
        _shared.users -= 1
        if _shared.users == 0:
            _shared.connection = None
            with suppress(ServiceLost):
                connection.leave()


@atexit.register
def _leave_at_exit() -> None:
    with _shared.lock:
        connection, _shared.connection = _shared.connection, None
    if connection is not None:
        with suppress(ServiceLost):
            connection.leave()
