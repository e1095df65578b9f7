"""Attempts on namespaces: user, mount, pid, network and time, and why this host refuses one.

Every function here changes the process that calls it.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from pathlib import Path

from lxsandbox.host.lack import Lack
from lxsandbox.syscalls import clone, mounts
from lxsandbox.syscalls.loopback import bring_up_loopback

__all__ = [
    "enter_user_namespace",
    "in_container",
    "mount_tmpfs",
    "proc_mount",
    "start_network",
    "time_namespace",
    "user_namespace_lack",
    "user_namespaces",
]

_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io")


def in_container() -> bool:
    """Whether this process itself seems to run in Docker, Podman or Kubernetes; for the choice of a fix only."""
    return any(os.path.exists(mark) for mark in _CONTAINER_MARKS)


def enter_user_namespace(more: int = 0) -> None:
    """Become root of a new user namespace, and enter the new namespaces `more` (CLONE_NEW*) below it. Raises Lack."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        clone.unshare(clone.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1\n")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1\n")
    except OSError as error:
        raise user_namespace_lack(error) from error
    if more:
        try:
            clone.unshare(more)
        except OSError as error:  # Ubuntu's AppArmor lets the first one pass and then denies every capability
            raise user_namespace_lack(error) from error


def user_namespace_lack(error: OSError) -> Lack:
    """Why this host refuses user namespaces, or what they are good for."""
    if error.errno in (errno.ENOSPC, errno.EUSERS):
        return Lack("userns-limit", f"user.max_user_namespaces is used up: {error.strerror}")
    if error.errno in (errno.EPERM, errno.EACCES):
        return _refusal(error)
    return Lack("userns-container" if in_container() else "userns-kernel", str(error.strerror))


def _refusal(error: OSError) -> Lack:
    if os.geteuid() != 0 and _switch("kernel/unprivileged_userns_clone") == "0":
        return Lack("userns-switched-off", f"kernel.unprivileged_userns_clone is 0: {error.strerror}")
    if _switch("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return Lack("userns-apparmor", f"AppArmor denies capabilities in a plain user's user namespace: {error.strerror}")
    if in_container():
        return Lack("userns-container", f"the container that this runs in forbids it: {error.strerror}")
    return Lack("userns-refused", str(error.strerror))


def _switch(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""


def mount_tmpfs(folder: Path) -> None:
    """Make `folder`, with an empty tmpfs on it. Raises Lack, naming what forbids mounts in a user namespace."""
    folder.mkdir()
    target = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        mounts.move_mount(mounts.new_filesystem("tmpfs", [("mode", "755")]), target)
    except OSError as error:
        raise user_namespace_lack(error) from error
    finally:
        os.close(target)


def user_namespaces(scratch: str) -> str:
    """The unshare alone proves nothing on Ubuntu 24.04, a mount inside does."""
    enter_user_namespace(clone.CLONE_NEWNS)
    mounts.set_propagation_private()
    folder = Path(scratch, "user-namespaces")
    mount_tmpfs(folder)
    (folder / "file").write_text("mounted")
    return "a tmpfs was mounted and written to as root of a new user namespace"


def proc_mount(scratch: str) -> str:
    """The kernel refuses a new proc where the visible one has parts mounted over ("mount too revealing")."""
    folder = Path(scratch, "proc-mount")
    folder.mkdir()
    enter_user_namespace(clone.CLONE_NEWNS | clone.CLONE_NEWPID)
    mounts.set_propagation_private()
    pid, _ = clone.clone3(0, exit_signal=signal.SIGCHLD)
    if pid == 0:
        os._exit(_mount_proc(folder))
    _, status = os.waitpid(pid, 0)
    number = os.waitstatus_to_exitcode(status)
    if number in (errno.EPERM, errno.EACCES):
        raise Lack("proc-overmounted", f"proc in a user and pid namespace: {os.strerror(number)}; mounted over: {_overmounts()}")
    if number:
        raise Lack("unknown", f"proc in a user and pid namespace: {os.strerror(number)}")
    return "a fresh proc was mounted in a user and pid namespace, and shows its processes alone"


def _mount_proc(folder: Path) -> int:
    """0, or the number of the error."""
    try:
        mounts.move_mount(mounts.new_filesystem("proc", []), os.open(folder, os.O_PATH | os.O_DIRECTORY))
        return 0 if {name for name in os.listdir(folder) if name.isdigit()} == {"1"} else errno.ENOTUNIQ
    except OSError as error:
        return error.errno or errno.EIO


def _overmounts() -> str:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = sorted({line.split()[4] for line in lines if line.split()[4].startswith("/proc/")})
    return ", ".join(points) or "nothing that is visible here"


def start_network() -> str:
    """Enter a network of one's own and talk over its loopback."""
    try:
        clone.unshare(clone.CLONE_NEWNET)
    except OSError as error:
        causes = {errno.ENOSPC: "netns-limit", errno.EINVAL: "netns-kernel"}
        if error.errno in causes:
            raise Lack(causes[error.errno], str(error.strerror)) from error
        raise user_namespace_lack(error) from error
    bring_up_loopback()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        socket.create_connection(server.getsockname(), timeout=4).close()
    return "a network namespace was made and a connection over its loopback served"


def time_namespace(_scratch: str) -> str:
    """time_namespaces(7): the clocks move for children, so that the offset is read in one."""
    enter_user_namespace()
    try:
        clone.unshare(clone.CLONE_NEWTIME)
    except OSError as error:
        raise Lack("timens-kernel", str(error.strerror)) from error
    ahead_seconds = 1_000_000
    Path("/proc/self/timens_offsets").write_text(f"monotonic {ahead_seconds} 0\n")
    before = time.monotonic()
    pid, _ = clone.clone3(0, exit_signal=signal.SIGCHLD)
    if pid == 0:
        os._exit(0 if time.monotonic() - before >= ahead_seconds else 1)
    if os.waitpid(pid, 0)[1]:
        raise Lack("timens-kernel", "the clock of a new time namespace did not move")
    return "a time namespace was made and its monotonic clock moved"
