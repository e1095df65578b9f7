"""The processes of one group as a whole: frozen, killed, waited for. One class for the unified tree, one for v1.

Both also serve v2 kernels and v1 hosts that lack a part: `cgroup.kill` came with Linux 5.14, `cgroup.freeze` with 5.2.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from lxsandbox.cgroups.files import pids, read, wait_for_event, write
from lxsandbox.errors import SandboxError

if TYPE_CHECKING:
    from lxsandbox.cgroups.machine import Machine
    from lxsandbox.cgroups.protocol import ProcessGroup

__all__ = ["FreezerProcesses", "UnifiedProcesses", "kill_each", "stuck"]

_PAUSE_SECONDS = 0.002  # between looks at what gives no event
_FREEZE_TO_KILL_SECONDS = 0.5
_DESCRIPTORS_AT_ONCE = 128


class UnifiedProcesses:
    """Of a folder of the unified tree, with controllers (v2) or without (hybrid)."""

    def __init__(self, folder: str, machine: Machine, *, can_kill: bool) -> None:
        self._folder = folder
        self._machine = machine
        self._can_kill = can_kill

    def members(self) -> list[int]:
        return pids(self._folder)

    def freeze(self, *, deadline_seconds: float = 5.0) -> None:
        until = time.monotonic() + deadline_seconds
        write(self._folder + "/cgroup.freeze", "1")
        if not wait_for_event(self._folder, "frozen", 1, until=until):
            self.thaw()
            raise stuck(self._folder, "cannot be frozen", self.members(), self._machine)

    def thaw(self) -> None:
        write(self._folder + "/cgroup.freeze", "0")

    def kill_all(self, *, deadline_seconds: float = 5.0) -> None:
        until = time.monotonic() + deadline_seconds
        if not self._can_kill:
            kill_each(self, self._folder, self._machine, until=until)
        else:
            with suppress(FileNotFoundError):
                write(self._folder + "/cgroup.kill", "1")
            with ExitStack() as descriptors:  # all of them die, so a few do to wait for
                pidfds = [_open_pidfd(pid, descriptors) for pid in self.members()[:16]]
                _wait_for([pidfd for pidfd in pidfds if pidfd is not None], until=until)
        if not wait_for_event(self._folder, "populated", 0, until=until):
            raise stuck(self._folder, "cannot be killed", self.members(), self._machine)


class FreezerProcesses:
    """Of a v1 folder: of the freezer, or of any controller where the host has no freezer (then it kills, but cannot freeze)."""

    def __init__(self, folder: str, machine: Machine, *, can_freeze: bool) -> None:
        self._folder = folder
        self._machine = machine
        self._can_freeze = can_freeze

    def members(self) -> list[int]:
        return pids(self._folder)

    def freeze(self, *, deadline_seconds: float = 5.0) -> None:
        if not self._can_freeze:
            raise SandboxError(f"{self._folder} has no freezer")
        until = time.monotonic() + deadline_seconds
        write(self._folder + "/freezer.state", "FROZEN")
        # Reading is what moves FREEZING on to FROZEN; a task that was forking wants the state written again.
        while read(self._folder + "/freezer.state") != "FROZEN\n":
            if time.monotonic() > until:
                self.thaw()
                raise stuck(self._folder, "cannot be frozen", self.members(), self._machine)
            time.sleep(_PAUSE_SECONDS)
            write(self._folder + "/freezer.state", "FROZEN")

    def thaw(self) -> None:
        if self._can_freeze:
            write(self._folder + "/freezer.state", "THAWED")

    def kill_all(self, *, deadline_seconds: float = 5.0) -> None:
        kill_each(self, self._folder, self._machine, until=time.monotonic() + deadline_seconds)


def kill_each(group: ProcessGroup, folder: str, machine: Machine, *, until: float) -> None:
    """Freeze, SIGKILL all, thaw (frozen v1 tasks do not die), wait; again until nobody is left. SandboxError after `until`."""
    while _others(group, machine):
        with suppress(SandboxError):  # a task that does not freeze is killed all the same
            group.freeze(deadline_seconds=_FREEZE_TO_KILL_SECONDS)
        # Listed once it stands still: one that was forked since the list would not be killed, and be waited for.
        members = _others(group, machine)
        with ExitStack() as descriptors:
            dying: list[int] = []
            for start in range(0, len(members), _DESCRIPTORS_AT_ONCE):
                dying = _kill_batch(group, members[start : start + _DESCRIPTORS_AT_ONCE], descriptors)
            group.thaw()
            _wait_for(dying, until=until)
        if time.monotonic() > until and (left := _others(group, machine)):
            raise stuck(folder, "cannot be killed", left, machine)


def stuck(folder: str, what: str, members: Sequence[int], machine: Machine) -> SandboxError:
    """The error that tells which processes hold a group, and what in the kernel holds them."""
    who = "; ".join(machine.describe_process(pid) for pid in members[:5]) or "no process in sight"
    hint = "a process in state D waits for a device or a file server: free that, or restart the machine"
    return SandboxError(f"{folder} {what} in time: {who}", hint=hint)


def _others(group: ProcessGroup, machine: Machine) -> list[int]:
    return [pid for pid in group.members() if pid != machine.pid]


def _kill_batch(group: ProcessGroup, members: Sequence[int], descriptors: ExitStack) -> list[int]:
    """SIGKILL by pidfd, to those that are in the group after the pidfd has pinned who it is; the pidfds of these."""
    descriptors.close()  # those of the batch before
    pinned = {pid: _open_pidfd(pid, descriptors) for pid in members}
    still = set(group.members())
    dying = [pidfd for pid, pidfd in pinned.items() if pidfd is not None and pid in still]
    for pidfd in dying:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    return dying


def _wait_for(dying: Sequence[int], *, until: float) -> None:
    """Wait until the processes have ended; their pidfds tell at once, where `cgroup.events` may be 10 ms late."""
    for pidfd in dying:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(max(0.0, until - time.monotonic()) * 1000)


def _open_pidfd(pid: int, descriptors: ExitStack) -> int | None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    descriptors.callback(os.close, pidfd)
    return pidfd
