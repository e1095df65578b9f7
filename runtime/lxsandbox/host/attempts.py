"""The attempts: each does, once and for real, what a sandbox will do, and says what it saw or raises `Lack`.

Each runs in a forked process of its own (child.py), which it may change as it likes. Namespaces are in `namespaces.py`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import shutil
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lxsandbox.host.disks import disk_kind
from lxsandbox.host.egress import egress
from lxsandbox.host.fault_attempts import netem, nftables, tbf
from lxsandbox.host.identities import idmapped_mounts, sub_ids
from lxsandbox.host.lack import Lack
from lxsandbox.host.links import bridge, veth
from lxsandbox.host.namespaces import (
    enter_user_namespace,
    in_container,
    mount_tmpfs,
    proc_mount,
    start_network,
    time_namespace,
    user_namespaces,
)
from lxsandbox.syscalls import _call, clone, mounts, privileges

__all__ = ["ATTEMPTS"]


def _overlayfs(scratch: str) -> str:
    """As a sandbox's root is made. Where a tmpfs cannot hold the upper, the upper goes to disk, so that is tried too."""
    enter_user_namespace(clone.CLONE_NEWNS)
    mounts.set_propagation_private()
    on_tmpfs, on_disk = Path(scratch, "overlay-tmpfs"), Path(scratch, "overlay-disk")
    mount_tmpfs(on_tmpfs)
    try:
        _remove_lower_folder(on_tmpfs)
        return "mounted in a user namespace with its upper on tmpfs; a folder of the lower was removed and made again"
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise Lack("overlay-module", str(error.strerror)) from error
    try:
        _remove_lower_folder(on_disk)
        return "mounted in a user namespace with its upper on disk (tmpfs refused); a folder of the lower was removed"
    except OSError as error:
        raise Lack("overlay-broken", str(error.strerror)) from error


def _remove_lower_folder(base: Path) -> None:
    """The mount may succeed and this fail with EIO, see pitfalls of `userxattr` in the kernel's overlayfs.rst."""
    for name in ("lower/folder/inner", "upper", "work", "merged"):
        (base / name).mkdir(parents=True)
    (base / "lower/folder/file").write_text("lower")
    options = [("lowerdir", f"{base}/lower"), ("upperdir", f"{base}/upper"), ("workdir", f"{base}/work"), ("userxattr", None)]
    tree = mounts.new_filesystem("overlay", options)
    target = os.open(base / "merged", os.O_PATH | os.O_DIRECTORY)
    mounts.move_mount(tree, target)
    folder = base / "merged/folder"
    shutil.rmtree(folder)
    folder.mkdir()
    if os.listdir(folder):
        raise OSError(errno.EIO, f"{folder} shows files of the lower folder that was removed")


def _tmpfs_xattr(scratch: str) -> str:
    enter_user_namespace(clone.CLONE_NEWNS)
    mounts.set_propagation_private()
    folder = Path(scratch, "tmpfs-xattr")
    mount_tmpfs(folder)
    try:
        os.setxattr(folder, "user.overlay.probe", b"1")
    except OSError as error:
        raise Lack("tmpfs-xattr-kernel", f"setxattr on a tmpfs: {error.strerror}") from error
    return "a tmpfs made in a user namespace holds user xattrs"


def _netns(_scratch: str) -> str:
    enter_user_namespace()
    return start_network()


# struct sock_filter, see seccomp(2): code, jump if true, jump if false, operand.
_UNUSED_CALL = 0x7FFF
_FILTER = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x20, 0, 0, 0),  # load the number of the call
        (0x15, 0, 1, _UNUSED_CALL),
        (0x06, 0, 0, 0x00050000 | errno.EXDEV),  # SECCOMP_RET_ERRNO
        (0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    )
)


def _seccomp(_scratch: str) -> str:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise Lack("libseccomp-missing", f"libseccomp.so.2: {error.strerror}") from error
    try:
        privileges.forbid_new_privileges()
        privileges.install_seccomp_filter(_FILTER)
        _call.syscall("unused", _UNUSED_CALL)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return "libseccomp loads, and a filter on a process of its own took effect"
        raise Lack("seccomp-kernel", str(error.strerror)) from error
    raise Lack("seccomp-kernel", "a filter was installed and had no effect")


def _pidfd(_scratch: str) -> str:
    try:
        pid, pidfd = clone.clone3(0, exit_signal=signal.SIGCHLD)
        if pid == 0:
            _wait_for_signal()
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        ended = select.select([pidfd], [], [], 4)[0]
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except OSError as error:
        raise Lack("pidfd-container" if in_container() else "pidfd-kernel", str(error.strerror)) from error
    if not ended:
        raise Lack("pidfd-kernel", "a pidfd did not tell the end of its process")
    return "a process made by clone3 was killed and reaped through its pidfd"


def _wait_for_signal() -> None:
    while True:
        signal.pause()


def _answer_of(name: str, attempt: Callable[[str], str]) -> Callable[[str], dict[str, dict[str, Any]]]:
    return lambda scratch: {name: {"detail": attempt(scratch)}}


_SINGLE = {
    "user-namespaces": user_namespaces,
    "overlayfs": _overlayfs,
    "tmpfs-xattr": _tmpfs_xattr,
    "idmapped-mounts": idmapped_mounts,
    "sub-ids": sub_ids,
    "proc-mount": proc_mount,
    "netns": _netns,
    "veth": veth,
    "bridge": bridge,
    "nftables": nftables,
    "tbf": tbf,
    "netem": netem,
    "time-namespace": time_namespace,
    "seccomp": _seccomp,
    "pidfd": _pidfd,
    "disk-kind": disk_kind,
    "egress": egress,
}

# The capabilities that an attempt answers for -> the attempt.
ATTEMPTS = {(name,): _answer_of(name, attempt) for name, attempt in _SINGLE.items()}
