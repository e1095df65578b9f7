"""Attempts on ids: a range of them in a user namespace, and showing a file system's owners through it."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

from lxsandbox.host.disks import mount_of
from lxsandbox.host.lack import Lack
from lxsandbox.host.namespaces import user_namespace_lack
from lxsandbox.syscalls import clone, mounts

__all__ = ["idmapped_mounts", "sub_ids"]

# What newuidmap gives by default on Debian and Fedora, see subuid(5); root needs no entry there.
_ROOT_RANGE = (100_000, 65_536)


@contextlib.contextmanager
def _held_user_namespace() -> Generator[int]:
    """The pid of a process that does nothing but hold a new user namespace, still without a mapping."""
    try:
        pid, pidfd = clone.clone3(clone.CLONE_NEWUSER, exit_signal=signal.SIGCHLD)
    except OSError as error:
        raise user_namespace_lack(error) from error
    while pid == 0:
        signal.pause()
    try:
        yield pid
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)


def sub_ids(_scratch: str) -> str:
    """Whether a user namespace can have a range of ids: root writes it, a plain user asks newuidmap(1)."""
    with _held_user_namespace() as pid:
        if os.geteuid() == 0:
            _map_as_root(pid)
        else:
            _map_by_newuidmap(pid)
        return f"mapped inside: {_mapped_count(pid)} uids"


def _map_as_root(pid: int) -> None:
    try:
        for kind in ("gid_map", "uid_map"):
            Path(f"/proc/{pid}/{kind}").write_text(f"0 {_ROOT_RANGE[0]} {_ROOT_RANGE[1]}\n")
    except OSError as error:
        raise Lack("root-range-refused", f"a mapping of {_ROOT_RANGE[1]} ids: {error.strerror}") from error


def _map_by_newuidmap(pid: int) -> None:
    own = {"newuidmap": os.geteuid(), "newgidmap": os.getegid()}
    for program, own_id in own.items():
        path = shutil.which(program)
        if path is None:
            raise Lack("newuidmap-missing", f"{program} is not in PATH; a single id is mapped")
        start, count = _own_range("/etc/subuid" if program == "newuidmap" else "/etc/subgid")
        numbers = (pid, 0, own_id, 1, 1, start, count)
        done = subprocess.run([path, *map(str, numbers)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Lack("newuidmap-refused", f"{program}: {done.stderr.strip()}; a single id is mapped")


def _own_range(table: str) -> tuple[int, int]:
    """The first range of this user in `table`, see subuid(5)."""
    uid = os.geteuid()
    names = {str(uid)}
    with contextlib.suppress(KeyError):
        names.add(pwd.getpwuid(uid).pw_name)
    lines = Path(table).read_text().splitlines() if os.path.exists(table) else []
    for line in lines:
        owner, _, numbers = line.partition(":")
        start, _, count = numbers.partition(":")
        if owner in names and start.isdigit() and count.isdigit():
            return int(start), int(count)
    raise Lack("subid-range-missing", f"{table} has no range for this user; a single id is mapped")


def _mapped_count(pid: int) -> int:
    return sum(int(line.split()[2]) for line in Path(f"/proc/{pid}/uid_map").read_text().splitlines())


def idmapped_mounts(_scratch: str) -> str:
    """Whether / can be shown with its owners moved into the range of a user namespace, as root does for image `host`."""
    if os.geteuid() != 0:
        return "not needed: only root's sandboxes use them"
    with _held_user_namespace() as pid:
        _map_as_root(pid)
        mapping = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        tree = mounts.open_tree("/")
        try:
            mounts.mount_setattr(tree, userns_fd=mapping)
        except OSError as error:
            kind = mount_of("/").kind
            causes = {errno.EINVAL: "idmap-filesystem", errno.EPERM: "root-range-refused"}
            raise Lack(causes.get(error.errno or 0, "idmap-kernel"), f"/ is {kind}: {error.strerror}") from error
        owner, shown = os.stat("/").st_uid, os.fstat(tree).st_uid
        if shown != owner + _ROOT_RANGE[0]:
            raise Lack("idmap-kernel", f"/ of owner {owner} shows owner {shown} through the mapping")
        return f"/ ({mount_of('/').kind}) was shown with its owners moved by {_ROOT_RANGE[0]}"
