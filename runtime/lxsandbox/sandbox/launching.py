"""Finding or starting the service of a run: its socket, its command line, its environment, and the wait until it is ready.

What is said to it afterwards is the connection's.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

from lxsandbox.errors import SandboxError, ServiceLost
from lxsandbox.remote_errors import error_from_wire

__all__ = ["LOG_NAME", "dial", "end_service", "log_tail", "service_environment", "start_lock", "start_service"]

LOG_NAME = "service.log"  # in the run folder

_READY_TIMEOUT_SECONDS = 60.0
_KEPT = frozenset(
    {
        "COVERAGE_PROCESS_CONFIG",
        "COVERAGE_PROCESS_START",
        "DBUS_SESSION_BUS_ADDRESS",
        "HOME",
        "LANG",
        "LC_ALL",
        "LOGNAME",
        "PATH",
        "TMPDIR",
        "USER",
    }
)
_KEPT_PREFIXES = ("LXSANDBOX_", "XDG_")
_TAIL_BYTES = 4096
_READY = b"1"
_FIRST_WORDS_BYTES = 4096  # pipe(7): what is written at once up to here is read at once


def start_service(folder: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start the service of the run in `folder`, with more in its environment, and wait until it listens.

    Where it ends instead, raises the error that it gives as the reason; where it gives none, ServiceLost with the end of its log.
    """
    ready, ready_there = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            process = _spawn(folder, ready_there, environ or {})
        finally:
            os.close(ready_there)
        said = _first_words(ready)
        if said == _READY:
            return process
        end_service(process)
        raise error_from_wire(json.loads(said)) if said else _start_failed(folder)
    finally:
        os.close(ready)


def end_service(process: subprocess.Popen[bytes]) -> None:
    """End and reap a service that is of no use."""
    process.kill()
    process.wait()


@contextmanager
def start_lock(folder: str) -> Generator[None]:
    """Held while a service is looked for and started, so that a run gets one."""
    # flock, not a lock file of one's own: the kernel frees it with its holder, and waiting needs no polling.
    fd = os.open(os.path.join(folder, "start.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def dial(path: str) -> socket.socket | None:
    """Connect to the service that listens at `path`; None where none does. Raises SandboxError for another user's."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except BaseException:
        sock.close()
        raise
    # unix(7), SO_PEERCRED: pid, uid, gid of who listens. A socket that another user put there is not our service.
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if uid != os.geteuid():
        sock.close()
        raise SandboxError(f"the service at {path} belongs to user {uid}, not to {os.geteuid()}")
    return sock


def service_environment(environ: Mapping[str, str], path: Sequence[str]) -> dict[str, str]:
    """What of the caller's environment the service gets: nothing that may hold a secret, and the caller's import path."""
    kept = {name: value for name, value in environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in path if entry and os.path.exists(entry))
    return kept


def log_tail(folder: str) -> str:
    """The last lines of the service's log; empty where there are none."""
    try:
        with open(os.path.join(folder, LOG_NAME), "rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _TAIL_BYTES))
            return log.read().decode(errors="replace").strip()
    except OSError:
        return ""  # the run folder has gone with the service


def _spawn(folder: str, ready_fd: int, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    log = os.open(os.path.join(folder, LOG_NAME), flags, 0o600)
    # -P: the folder that pytest runs in must not shadow the service's modules.
    command = [sys.executable, "-P", "-m", "lxsandbox.service", "--folder", folder, "--ready-fd", str(ready_fd)]
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**service_environment(os.environ, sys.path), **environ},
            pass_fds=(ready_fd,),
            start_new_session=True,  # Ctrl-C is for pytest; the service ends when its clients have gone
        )
    finally:
        os.close(log)


def _first_words(ready: int) -> bytes:
    """That the service listens, or the error that keeps it from that; nothing when it has ended or takes too long."""
    poll = select.poll()
    poll.register(ready, select.POLLIN)
    return os.read(ready, _FIRST_WORDS_BYTES) if poll.poll(_READY_TIMEOUT_SECONDS * 1000) else b""


def _start_failed(folder: str) -> SandboxError:
    tail = log_tail(folder)
    last = tail.splitlines()[-1] if tail else "it said nothing"
    error = ServiceLost(f"the sandbox service did not start: {last}", hint="run `lxsandbox doctor` to see what this host lacks")
    if "\n" in tail:
        error.add_note(f"its log:\n{tail}")
    return error
