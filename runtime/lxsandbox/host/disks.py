"""Which file system a folder is on, and whether an overlay can have its upper there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lxsandbox.host.lack import Lack

__all__ = ["Mount", "disk_kind", "mount_of"]

# The kernel's overlayfs.rst: an upper needs d_type, xattrs and revalidation-free dentries; network file systems and
# another overlay are refused.
_NO_UPPER = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "overlay", "vfat", "exfat", "ecryptfs"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo, as far as it matters here."""

    point: str
    kind: str


def mount_of(path: str) -> Mount:
    """The mount that `path`, or the nearest of its parents that exists, lies on."""
    real = os.path.realpath(path)
    best = Mount(point="/", kind="unknown")
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        point = _unescape(before.split()[4])
        # Of several on one point the last one is on top.
        if (real + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best.point):
            best = Mount(point=point, kind=after.split()[0])
    return best


def _unescape(text: str) -> str:
    # proc_pid_mountinfo(5): space, tab, newline and backslash are octal.
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def disk_kind(_scratch: str) -> str:
    """What the cache and the run folders are on."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    run = _run_base()
    kinds = {"cache": (cache, mount_of(cache).kind), "run folders": (run, mount_of(run).kind)}
    detail = ", ".join(f"{what} {path} on {kind}" for what, (path, kind) in kinds.items())
    if kinds["cache"][1] in _NO_UPPER or kinds["cache"][1].startswith("fuse"):
        raise Lack("disk-no-upper", detail)
    return detail


def _run_base() -> str:
    """Where run folders are made, in the order in which the service looks for a place."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    fallback = "/run" if os.geteuid() == 0 and os.access("/run", os.W_OK) else "/tmp"
    return os.environ.get("LXSANDBOX_RUNTIME_DIR") or (runtime if os.access(runtime, os.W_OK | os.X_OK) else fallback)
