"""The process that carries what leaves the sandboxes: started for the first that asks, and ended with the hub or the run.

It is a child of the service, in the host's network, and makes its tap in the hub's. Three things end it: the service, when it
stops; the hub, which has its pidfd, when the service has gone; and, of slirp4netns, the end of a pipe that the service holds.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable

from lxsandbox.errors import HostUnsupported
from lxsandbox.host.fixes import fix_of
from lxsandbox.outlet import DEVICE, NAMES, Program, complaint_in, found_programs

__all__ = ["Outlet", "OutletFailed", "candidates"]

_TOLD_BYTES = 4096


class OutletFailed(Exception):
    """A program ended before there was an outlet; the message is what it said last."""


def candidates() -> list[Program]:
    """The programs that may work here. Raises HostUnsupported, with what to install or to change."""
    found = found_programs()
    if not found:
        raise HostUnsupported(
            f"egress needs {' or '.join(NAMES)}, and this host has neither",
            hint=fix_of("egress", "outlet-missing"),
            capability="egress",
        )
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        cause = "tun-closed" if os.path.exists(DEVICE) else "tun-missing"
        raise HostUnsupported(f"egress needs {DEVICE}, which cannot be opened", hint=fix_of("egress", cause), capability="egress")
    return found


class Outlet:
    """One run of one program. `on_end` is called when it has ended by itself, or was killed by somebody else."""

    def __init__(self, program: Program, hub: int, on_end: Callable[[], None]) -> None:
        """`hub` is the process in whose network namespace the tap is to be. Raises OSError, HostUnsupported."""
        self.program = program
        self._on_end = on_end
        self._said = os.memfd_create("lxsandbox-outlet")
        lifeline, self._lifeline = os.pipe2(os.O_CLOEXEC)
        try:
            self._process = self._start(hub, lifeline)
        except BaseException:
            os.close(self._said)
            os.close(self._lifeline)
            raise
        finally:
            os.close(lifeline)
        self.pidfd = os.pidfd_open(self._process.pid)
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(self.pidfd, self._has_ended)

    @property
    def pid(self) -> int:
        return self._process.pid

    def _start(self, hub: int, lifeline: int) -> subprocess.Popen[bytes]:
        as_root = os.geteuid() == 0
        network, user = (os.open(f"/proc/{hub}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("net", "user"))
        try:
            return subprocess.Popen(
                self.program.command(hub, as_root=as_root, lifeline=lifeline),
                stdin=network,
                stdout=user,
                stderr=self._said,
                pass_fds=[lifeline],
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(network)
            os.close(user)

    def _has_ended(self) -> None:
        said = self._close()
        self.ended.set_result(said)
        self._on_end()

    def _close(self) -> str:
        asyncio.get_running_loop().remove_reader(self.pidfd)
        self._process.wait()
        size = os.fstat(self._said).st_size
        said = os.pread(self._said, _TOLD_BYTES, max(0, size - _TOLD_BYTES))
        for fd in (self.pidfd, self._said, self._lifeline):
            os.close(fd)
        return complaint_in(said) or f"it ended with status {self._process.returncode}"

    def stop(self) -> None:
        """End it, and wait until it has: it is killed, which takes the kernel a moment."""
        if not self.ended.done():
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            self.ended.set_result(self._close())
