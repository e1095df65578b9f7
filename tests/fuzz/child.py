"""One archive unpacked by one child, with what the spawner's clone does, and a watch on how it ends."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path

from fuzz.namespace import enter_user_namespace

from lxsandbox.images.unpack import Refused, unpack
from lxsandbox.syscalls.files import close_all_but

__all__ = ["Said", "unpacked"]

_MOST_SECONDS = 120  # by the clock, of a machine that may be busy
_MOST_CPU_SECONDS = 10
_PIPE_BYTES = 1 << 20
_TAKEN, _REFUSED, _FAILED = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Said:
    """How a child ended: both are empty where it took the archive."""

    refusal: str = ""
    failure: str = ""  # it ended otherwise than by itself and with a reason


def unpacked(archive: bytes, root: Path, *, form: str, single: bool) -> Said:
    """Unpack into the empty folder `root`; `single`: in a user namespace with one id."""
    stream = _stream(archive)
    report, report_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _unpack(stream, report_end, str(root), form, single=single)
    os.close(stream)
    os.close(report_end)
    try:
        _wait(pid)
        with open(report, "rb", closefd=False) as file:
            text = file.read().decode("utf-8", "replace")
    finally:
        os.close(report)
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == _TAKEN and not text:
        return Said()
    if code == _REFUSED and text:
        return Said(refusal=text)
    return Said(failure=f"the child ended with {code} by {text}")


def _stream(archive: bytes) -> int:
    """A pipe, as in production, where the archive fits into one: nobody is there to go on writing."""
    if len(archive) > _PIPE_BYTES:
        made = os.memfd_create("archive", os.MFD_CLOEXEC)
        with open(made, "wb", closefd=False) as file:
            file.write(archive)
        os.lseek(made, 0, os.SEEK_SET)
        return made
    stream, sink = os.pipe()
    fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    with open(sink, "wb") as file:
        file.write(archive)
    return stream


def _wait(pid: int) -> None:
    """Until the child has ended, by itself or at last by force."""
    pidfd = os.pidfd_open(pid)
    try:
        if not select.select([pidfd], [], [], _MOST_SECONDS)[0]:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def _unpack(stream: int, report: int, root: str, form: str, *, single: bool) -> None:
    """In the child: unpack, say what went wrong, and end."""
    status = _FAILED
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (_MOST_CPU_SECONDS, _MOST_CPU_SECONDS))
        if single:
            enter_user_namespace()
        close_all_but([0, 1, 2, stream, report])
        unpack(stream, root, form=form)
        status = _TAKEN
    except Refused as error:
        os.write(report, str(error).encode("utf-8", "surrogateescape")[:4096])
        status = _REFUSED
    except BaseException as error:  # noqa: BLE001 - none but Refused may come
        # Without the lines themselves: a file of that name would now be the archive's.
        *above, last = [f"{frame.f_code.co_qualname} line {line}" for frame, line in traceback.walk_tb(error.__traceback__)]
        text = f"{type(error).__name__} in {last}: {error}; called by {', '.join(above)}"
        os.write(report, text.encode("utf-8", "replace")[:4096])
    finally:
        os._exit(status)
