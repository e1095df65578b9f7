"""What a test needs of the host, found out by doing it once: `@needs("overlayfs")`.

Lacking it, the test is skipped on a laptop and fails under LXSANDBOX_MUST_RUN=1. A side (`root`, `plain-user`) is no lack:
tox runs the suite once on each, so the other side's tests are skipped everywhere.
"""

from __future__ import annotations

import ctypes
import functools
import os
import select
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from lxsandbox.host import probe

__all__ = ["check", "lacks", "must_run", "needs"]

TOOLS = frozenset({
    "apt-get", "busybox", "bwrap", "debugfs", "dig", "docker", "docker-registry", "dpkg", "gcc", "git", "ip", "mmdebstrap",
    "nft", "nsenter", "openssl", "pasta", "qemu-img", "runc", "setpriv", "skopeo", "tar", "umoci", "unshare",
})  # fmt: skip
# Root alone can have these, so for a plain user they are the other side of the suite and not something missing.
ROOT_ONLY = frozenset({"root", "cgroup-io", "cgroup-cpuset"})
PROBE_SECONDS = 20

_OVERLAY = """
set -e; mount -t {upper} upper "$1"; cd "$1"; mkdir lower lower/folder upper work merged
mount -t overlay overlay -o {options}lowerdir=lower,upperdir=upper,workdir=work merged
rmdir merged/folder; ! [ -e merged/folder ]
"""


def needs(*capabilities: str) -> pytest.MarkDecorator:
    """Marks a test (or, as `pytestmark`, a module) with the capabilities it needs; an unknown name is an error at import."""
    unknown = sorted(set(capabilities) - set(_PROBES) - TOOLS)
    if unknown:
        raise ValueError(f"no such capability: {', '.join(unknown)}; there are {', '.join(sorted(set(_PROBES) | TOOLS))}")
    return pytest.mark.needs(*capabilities)


def must_run() -> bool:
    """True where a test that cannot run is a failure: in CI."""
    return os.environ.get("LXSANDBOX_MUST_RUN", "") not in ("", "0")


def check(item: pytest.Item) -> None:
    """Skips the test, or fails it, when this host lacks what its `needs` marks name."""
    for mark in item.iter_markers("needs"):
        for capability in mark.args:
            reason = lacks(capability)
            if reason and must_run() and not _is_other_side(capability):
                pytest.fail(f"LXSANDBOX_MUST_RUN is set, and {reason}", pytrace=False)
            elif reason:
                pytest.skip(reason)


@functools.cache
def lacks(capability: str) -> str:
    """Why this host cannot give the capability; empty when it can."""
    if capability in TOOLS:
        return "" if shutil.which(capability, path=_path()) else f"there is no `{capability}` on this host"
    return "" if _PROBES[capability]() else f"this host, or this user, cannot do: {capability}"


def _is_other_side(capability: str) -> bool:
    return capability == "plain-user" or (capability in ROOT_ONLY and os.geteuid() != 0)


def _path() -> str:
    # A Debian user's PATH lacks the sbin folders.
    return os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


def _succeeds(*command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=PROBE_SECONDS, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _in_user_namespace(script: str, *args: str) -> bool:
    return _succeeds("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *args)


def _user_namespaces() -> bool:
    # A mount, not the unshare alone: AppArmor on Ubuntu 24.04 lets the unshare pass and then denies every capability.
    return _in_user_namespace("mount -t tmpfs none /mnt")


def _overlayfs() -> bool:
    # Removing a folder of the lower layer is what fails where the kernel took the mount and lacks the xattrs.
    if os.geteuid() == 0:
        return _succeeds("unshare", "--mount", "sh", "-c", _OVERLAY.format(upper="tmpfs", options=""), "sh", "/mnt")
    return _tmpfs_xattrs()


def _tmpfs_xattrs() -> bool:
    return _in_user_namespace(_OVERLAY.format(upper="tmpfs", options="userxattr,"), "/mnt")


def _in_user_network(*command: str) -> bool:
    tool = shutil.which(command[0], path=_path())
    return tool is not None and _succeeds("unshare", "--user", "--map-root-user", "--net", tool, *command[1:])


def _id_range() -> bool:
    if os.geteuid() == 0:
        return True  # root maps what it likes
    return _succeeds("unshare", "--user", "--map-root-user", "--map-auto", "true")


def _rules_that_pass_on() -> bool:
    chain = 'add chain netdev t c { type filter hook ingress device "lo" priority 0; }'
    return _in_user_network("nft", f'add table netdev t; {chain}; add rule netdev t c fwd to "lo"')


def _egress() -> bool:
    """A way to the world, and a program that makes its tap in a network namespace of this user's."""
    users = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    if not _succeeds("ip", "route", "get", "198.51.100.1") or not shutil.which("slirp4netns", path=_path()):
        return False
    with subprocess.Popen(["unshare", *users, "--net", "sh", "-c", "echo; exec sleep 20"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        try:
            return holder.stdout.readline() == b"\n" and _makes_tap(holder.pid)
        finally:
            holder.kill()


def _makes_tap(pid: int) -> bool:
    users = [] if os.geteuid() == 0 else [f"--userns-path=/proc/{pid}/ns/user"]
    ready, told = os.pipe()
    command = ["slirp4netns", f"--ready-fd={told}", *users, "--netns-type=path", f"/proc/{pid}/ns/net", "probe0"]
    with (
        os.fdopen(ready, "rb") as said,
        subprocess.Popen(command, pass_fds=[told], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as program,
    ):
        os.close(told)
        try:
            return bool(select.select([said], [], [], PROBE_SECONDS)[0]) and said.read(1) == b"1"
        finally:
            program.kill()


def _libseccomp() -> bool:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    return True


def _link_can_be_made(kind: str) -> bool:
    """`ip` may be missing, and is not needed: a capability of this name is what `lxsandbox doctor` tries."""
    (found,) = probe([kind])
    return found.ok


def _cgroup(controller: str, v1_file: str) -> Callable[[], bool]:
    def probe() -> bool:
        if controller == "freezer" and _own_v2_group() is not None:
            return _can_make_group(_own_v2_group(), "cgroup.freeze")
        v1 = _own_v1_group(controller)
        if v1 is not None:
            return _can_make_group(v1, v1_file)
        v2 = _own_v2_group()
        return v2 is not None and controller in (v2 / "cgroup.controllers").read_text().split() and _can_make_group(v2, "")

    return probe


def _own_groups() -> dict[str, str]:
    """Controller to the path of this process's group in its hierarchy; the unified one has the empty name."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    parts = (line.split(":", 2) for line in lines)
    return {name: path for _, names, path in parts for name in names.split(",")}


def _own_v1_group(controller: str) -> Path | None:
    return _own_group("cgroup", controller)


def _own_v2_group() -> Path | None:
    return _own_group("cgroup2", "")


def _own_group(kind: str, controller: str) -> Path | None:
    own = _own_groups().get(controller)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        filesystem, _, options = after.split(" ", 2)
        if own is not None and filesystem == kind and (not controller or controller in options.split(",")):
            root, folder = before.split()[3:5]
            return Path(folder) / os.path.relpath(own, root)
    return None


def _can_make_group(parent: Path | None, must_hold: str) -> bool:
    if parent is None:
        return False
    probe = parent / f"needs-{uuid.uuid4().hex[:8]}"
    try:
        probe.mkdir()
    except OSError:
        return False
    try:
        return (probe / must_hold).exists() and os.access(probe / must_hold, os.W_OK)
    finally:
        probe.rmdir()


_PROBES: dict[str, Callable[[], bool]] = {
    "root": lambda: os.geteuid() == 0,
    "plain-user": lambda: os.geteuid() != 0,
    "user-namespaces": _user_namespaces,
    "overlayfs": _overlayfs,
    "tmpfs-xattrs": _tmpfs_xattrs,
    "id-range": _id_range,
    "veth": lambda: _link_can_be_made("veth"),
    "bridge": lambda: _link_can_be_made("bridge"),
    "newuidmap": lambda: _id_range() and shutil.which("newuidmap", path=_path()) is not None,
    "libseccomp": _libseccomp,
    "nftables": lambda: _in_user_network(
        "nft", "add table bridge t; add chain bridge t c { type filter hook forward priority 0; }"
    ),
    "nft-fwd": _rules_that_pass_on,
    "egress": _egress,
    "cgroup-memory": _cgroup("memory", "memory.limit_in_bytes"),
    "cgroup-pids": _cgroup("pids", "pids.max"),
    "cgroup-cpu": _cgroup("cpu", "cpu.cfs_quota_us"),
    "cgroup-cpuset": _cgroup("cpuset", "cpuset.cpus"),
    "cgroup-io": lambda: _cgroup("blkio", "blkio.throttle.read_bps_device")() or _cgroup("io", "")(),
    "cgroup-freezer": _cgroup("freezer", "freezer.state"),
}
