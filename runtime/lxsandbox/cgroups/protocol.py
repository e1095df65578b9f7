"""What every kind of control group can do, and the figures that it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lxsandbox.spec import Limits

__all__ = ["Cgroup", "CgroupTree", "Counters", "ProcessGroup"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """What a sandbox uses and has used; None is what this host cannot count.

    `pressure` is the share of the last ten seconds, in percent, in which something in the sandbox waited for `memory`,
    `cpu` or `io` (the `some avg10` of the kernel's PSI files).
    """

    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    cpu_seconds: float | None = None
    cpu_throttled_seconds: float | None = None
    pids: int | None = None
    pids_peak: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    oom_kills: int | None = None
    pressure: dict[str, float] | None = None


class ProcessGroup(Protocol):
    """The processes of one group as a whole."""

    def members(self) -> list[int]:
        """The pids in the group now, as this process sees them."""
        ...

    def freeze(self, *, deadline_seconds: float = 5.0) -> None:
        """Stop everything in the group; returns once all of it stands still. SandboxError when it does not in time."""
        ...

    def thaw(self) -> None:
        """Let everything in the group run on."""
        ...

    def kill_all(self, *, deadline_seconds: float = 5.0) -> None:
        """SIGKILL all, frozen or forking as they may be, and wait until none is left.

        Raises SandboxError, with pid and kernel function, when a process does not die in time.
        """
        ...


class Cgroup(ProcessGroup, Protocol):
    """The group of one sandbox."""

    @property
    def into_fd(self) -> int | None:
        """A descriptor for `CLONE_INTO_CGROUP`, where the kind has one; owned by the group, closed by `close`."""
        ...

    def attach(self, pid: int, *, cloned_into: bool = True) -> None:
        """Move a process in; with `cloned_into` only where a clone with `into_fd` has not already put it."""
        ...

    def update(self, limits: Limits) -> None:
        """Replace all limits; None lifts one. HostUnsupported when one cannot be held, SandboxError when it is refused now."""
        ...

    def counters(self) -> Counters:
        """The figures now; read them before `remove`."""
        ...

    def remove(self, *, deadline_seconds: float = 5.0) -> None:
        """Remove the empty group; may be called twice. SandboxError when something in it does not end in time."""
        ...

    def close(self) -> None:
        """Close `into_fd`; may be called twice."""
        ...


class CgroupTree(Protocol):
    """Where the groups of one run are."""

    @property
    def kind(self) -> str:
        """`v1`, `hybrid`, `v2` or `none`."""
        ...

    @property
    def lacks(self) -> Mapping[str, str]:
        """Of `memory swap cpus pids io cpuset freezer`, those that cannot be held here: the reason and the fix."""
        ...

    def create(self, name: str, limits: Limits) -> Cgroup:
        """A new group with these limits. HostUnsupported when one that is not None is among `lacks`."""
        ...

    def count(self) -> int:
        """How many groups of sandboxes are on disk for this run."""
        ...

    def remove(self) -> None:
        """Kill and remove what is left of the run, its own folders last; may be called twice."""
        ...
