"""The capabilities that sandboxes use, by name, and what is known of one of them on this host."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["CGROUP_LIMITS", "NAMES", "REQUIRED", "Capability"]

# Capability name -> the limit's name in `CgroupTree.lacks`.
CGROUP_LIMITS = {
    "cgroup-memory": "memory",
    "cgroup-swap": "swap",
    "cgroup-pids": "pids",
    "cgroup-cpu": "cpus",
    "cgroup-io": "io",
    "cgroup-cpuset": "cpuset",
    "cgroup-freezer": "freezer",
}

# In the order in which `lxsandbox doctor` shows them: what the next ones lean on comes first.
NAMES = (
    "user-namespaces",
    "overlayfs",
    "tmpfs-xattr",
    "idmapped-mounts",
    "sub-ids",
    "proc-mount",
    "netns",
    "veth",
    "bridge",
    "nftables",
    "tbf",
    "netem",
    "time-namespace",
    "seccomp",
    "pidfd",
    *CGROUP_LIMITS,
    "clone-into-cgroup",
    "disk-kind",
    "egress",
)

# Without these no sandbox starts; without another one something is slower, or refused by name when it is asked for.
REQUIRED = frozenset({"user-namespaces", "overlayfs", "proc-mount", "netns", "seccomp", "pidfd"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Capability:
    """One capability: `detail` says what was tried and seen; `consequence` and `fix` are empty where it is there.

    `fix` is one command to run (or, where no command helps, the one thing to change).
    """

    name: str
    ok: bool
    detail: str
    consequence: str = ""
    fix: str = ""

    @property
    def required(self) -> bool:
        """Whether no sandbox starts without it."""
        return self.name in REQUIRED

    def as_json(self) -> dict[str, Any]:
        """The fields and `required`, as plain data."""
        return {**asdict(self), "required": self.required}
