"""clone3(2), unshare(2) and setns(2): making and entering namespaces."""

import ctypes
import os
from ctypes import c_int, c_size_t, c_uint64

from lxsandbox.syscalls._call import call, syscall

__all__ = ["clone3", "setns", "unshare"]

# include/uapi/linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

_SYS_CLONE3 = 435  # the same on every architecture, as all calls since Linux 5.1


class _CloneArgs(ctypes.Structure):
    """struct clone_args, version 2 (88 bytes, Linux 5.7), see clone(2)."""

    _fields_ = [
        (name, c_uint64)
        for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls",
            "set_tid", "set_tid_size", "cgroup",
        )
    ]  # fmt: skip


def clone3(flags: int, *, exit_signal: int = 0, cgroup_fd: int | None = None) -> tuple[int, int]:
    """Clone this single-threaded process. Returns (pid, pidfd) in the parent and (0, -1) in the child.

    The child is a copy, as after os.fork, without the functions of os.register_at_fork having run; it must end with os._exit
    or exec. The pidfd is close-on-exec.
    """
    pidfd = c_int(-1)
    args = _CloneArgs(flags=flags | CLONE_PIDFD, pidfd=ctypes.addressof(pidfd), exit_signal=exit_signal)
    if cgroup_fd is not None:
        args.flags |= CLONE_INTO_CGROUP
        args.cgroup = cgroup_fd
    # Not between PyOS_BeforeFork and PyOS_AfterFork_Child: what these hold and renew is for threads, of which there is one, and
    # they write to a dozen pages of every child.
    pid = syscall("clone3", _SYS_CLONE3, ctypes.byref(args), c_size_t(ctypes.sizeof(args)))
    if pid == 0:
        return 0, -1
    os.set_inheritable(pidfd.value, False)
    return pid, pidfd.value


def unshare(flags: int) -> None:
    """Move this process into new namespaces, see unshare(2)."""
    call("unshare", c_int(flags))


def setns(fd: int, flags: int) -> None:
    """Join the namespaces behind `fd` (a namespace file, or a pidfd since Linux 5.8), see setns(2)."""
    call("setns", c_int(fd), c_int(flags))
