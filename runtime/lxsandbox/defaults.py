"""What holds where nobody asked for anything else: one place for fixtures, `Sandbox()` and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lxsandbox.units import UNLIMITED

if TYPE_CHECKING:
    from lxsandbox.spec import SandboxSpec

__all__ = [
    "CACHE_DIR", "CACHE_SIZE", "DEFAULT_CACHE_SIZE", "DEFAULT_DISK", "DEFAULT_MEMORY", "DEFAULT_PIDS", "LOCK_NAME",
    "with_defaults",
]  # fmt: skip

# Of the environment: where images are kept, and how much of them. The service has them from whoever starts it.
CACHE_DIR = "LXSANDBOX_SANDBOX_CACHE_DIR"
CACHE_SIZE = "LXSANDBOX_SANDBOX_CACHE_SIZE"
DEFAULT_CACHE_SIZE = "20GiB"
LOCK_NAME = "lxsandbox.lock"  # beside the tests

DEFAULT_MEMORY = "512M"
DEFAULT_PIDS = 512
DEFAULT_DISK = "256M"  # in memory, and so below DEFAULT_MEMORY: a full disk is ENOSPC, not the OOM killer

_DEFAULTS: Mapping[str, Any] = {"memory": DEFAULT_MEMORY, "pids": DEFAULT_PIDS, "disk": DEFAULT_DISK}
_LIMITS = ("memory", "swap", "cpus", "pids", "io", "disk")


def with_defaults(spec: SandboxSpec) -> tuple[SandboxSpec, list[str]]:
    """`spec` with every limit that it leaves open filled in, and the names of the limits that somebody asked for.

    A host that cannot hold a limit that was asked for refuses the sandbox; a default is held where the host can.
    """
    required = [name for name in _LIMITS if getattr(spec, name) not in (None, UNLIMITED)]
    missing = {name: value for name, value in _DEFAULTS.items() if getattr(spec, name) is None}
    if spec.scratch == "disk":
        missing.pop("disk", None)  # a folder on disk has no size limit: a default must not ask for one
    return replace(spec, **missing), required
