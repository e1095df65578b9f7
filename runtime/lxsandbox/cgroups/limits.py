"""Limits as writes to interface files: how they are refused, applied, and what all kinds share in planning them."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from lxsandbox.cgroups.files import write
from lxsandbox.errors import HostUnsupported, SandboxError
from lxsandbox.spec import Limits

__all__ = ["UNBOUNDED", "Lack", "Write", "apply", "capability_of", "cpu_quota", "refuse_unheld", "texts", "unsupported"]

UNBOUNDED = Limits(swap_bytes=None)  # what a group that has just been made holds

_FIELDS = {
    "memory": "memory_bytes",
    "swap": "swap_bytes",
    "cpus": "cpus",
    "pids": "pids",
    "io": "io_bytes_per_second",
    "cpuset": "cpuset",
}


@dataclass(frozen=True, slots=True)
class Lack:
    """Why something cannot be held on this host, and the one thing to do about it."""

    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.fix}"


class Write(NamedTuple):
    """One value for one interface file; `limit` is the name that users know it by."""

    limit: str
    controller: str
    file: str
    value: str


def texts(lacks: Mapping[str, Lack]) -> dict[str, str]:
    """The lacks as people read them."""
    return {name: str(lack) for name, lack in lacks.items()}


def unsupported(name: str, lack: Lack) -> HostUnsupported:
    """The error for a limit that this host lacks."""
    return HostUnsupported(f"{name} cannot be held here: {lack.reason}", hint=lack.fix, capability=capability_of(name))


def capability_of(name: str) -> str:
    """The name that the doctor has for a limit."""
    return f"cgroup-{'cpu' if name == 'cpus' else name}"


def refuse_unheld(limits: Limits, lacks: Mapping[str, Lack]) -> None:
    """Raise HostUnsupported for the first limit that is asked for and lacks."""
    for name, lack in lacks.items():
        if name in _FIELDS and getattr(limits, _FIELDS[name]) is not None:
            raise unsupported(name, lack)


def apply(writes: Iterable[Write], folders: Mapping[str, str]) -> None:
    """Do the writes, in order, each in the folder of its controller."""
    for step in writes:
        path = f"{folders[step.controller]}/{step.file}"
        try:
            write(path, step.value)
        except OSError as error:
            if step.limit == "io" and error.errno == errno.ENODEV:
                continue  # the disk has been taken out since we listed it
            raise _refused(step, path, error) from error


def cpu_quota(cpus: float) -> tuple[int, int]:
    """Quota and period in µs. The kernel takes quotas from 1 ms and periods of 1 ms to 1 s (sched-bwc)."""
    period = 100_000 if cpus >= 0.01 else 1_000_000
    quota = round(cpus * period)
    if quota < 1000:
        raise HostUnsupported(
            f"cpus={cpus} cannot be held: the kernel's smallest share is 0.001",
            hint="ask for more",
            capability=capability_of("cpus"),
        )
    return quota, period


def _refused(step: Write, path: str, error: OSError) -> SandboxError:
    problem = f"{step.limit} cannot be set to {step.value}: write to {path}: {error.strerror}"
    if error.errno == errno.EBUSY:
        return SandboxError(problem, hint="the sandbox uses more than that now; stop something in it, or ask for more")
    hint = f"ask for no more than the group that the tests run in has itself, see {step.file} in the folders above it"
    return HostUnsupported(problem, hint=hint, capability=capability_of(step.limit))
