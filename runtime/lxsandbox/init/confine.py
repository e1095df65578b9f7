"""Giving up privileges: after this, init can do no more than the processes it starts."""

import os
import socket

from lxsandbox.rootfs.targets import replace_file
from lxsandbox.syscalls import mounts, privileges
from lxsandbox.syscalls.clone import CLONE_NEWCGROUP, unshare

TYPE_CHECKING = False  # the spawner loads this module
if TYPE_CHECKING:
    from typing import Any

__all__ = ["confine"]


def confine(given: "dict[str, Any]", seccomp: bytes) -> None:
    """Take the identity that is `given` (host name, files), then drop every privilege it does not allow.

    Runs once the service has put this process into its cgroup. Raises OSError.
    """
    socket.sethostname(given["hostname"])
    # After the group was joined: the namespace's root is the group that the process is in (cgroup_namespaces(7)).
    unshare(CLONE_NEWCGROUP)
    for path, text, mode in given["files"]:
        _write(path, text, mode)
    for path in given["read_only"]:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        mounts.mount_setattr(place, set_=mounts.MOUNT_ATTR_RDONLY)
        os.close(place)
    # The control socket is the lifeline; a frozen init cannot read it. The parent is the service's main thread.
    privileges.die_with_parent()
    _drop(given["capabilities"])
    privileges.forbid_new_privileges()
    # After the last change of ids, which sets the flag anew: root inside could else ptrace init and read /proc/1/mem.
    privileges.forbid_dumping()
    if seccomp:
        privileges.install_seccomp_filter(seccomp)


def _write(path: str, text: str, mode: int) -> None:
    top = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        with replace_file(top, path, mode, links=False) as file:
            file.write(text.encode())
    finally:
        os.close(top)


def _drop(keep: int) -> None:
    """Leave only the capabilities of the mask `keep` in the bounding, permitted and effective sets, and none elsewhere."""
    privileges.limit_bounding_set(keep)
    privileges.clear_ambient_capabilities()
    privileges.set_capabilities(keep)
