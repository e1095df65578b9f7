"""prctl(2), capset(2) and seccomp(2): giving up privileges for good."""

import ctypes
import errno
import os
from ctypes import c_int, c_uint32, c_ulong

from lxsandbox.syscalls._call import attempt, call

__all__ = ["clear_ambient_capabilities", "install_seccomp_filter", "limit_bounding_set", "set_capabilities"]
__all__ += ["die_with_parent", "forbid_dumping", "forbid_new_privileges"]

# include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP = 1, 4, 22
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 23, 24, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
_CAPABILITIES = 64  # the sets are that many bits wide, see capabilities(7)
_CAPABILITY_VERSION_3 = 0x20080522


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", c_uint32), ("pid", c_int)]


class _CapData(ctypes.Structure):
    _fields_ = [("effective", c_uint32), ("permitted", c_uint32), ("inheritable", c_uint32)]


class _SockFprog(ctypes.Structure):
    """struct sock_fprog, see seccomp(2): a count of 8-byte instructions and their address."""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _prctl(option: int, *args: int) -> int:
    return call("prctl", c_int(option), *(c_ulong(arg) for arg in (*args, 0, 0, 0, 0)[:4]))


def forbid_new_privileges() -> None:
    """Nothing this process execs gains privileges, from now on and for all its children."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent() -> None:
    """SIGKILL for this process when the thread that is its parent ends; undone by a later change of ids, see prctl(2)."""
    _prctl(_PR_SET_PDEATHSIG, 9)


def forbid_dumping() -> None:
    """Refuse ptrace(2), /proc/PID/mem and the like to everyone without CAP_SYS_PTRACE over this memory's user namespace."""
    _prctl(_PR_SET_DUMPABLE, 0)


def limit_bounding_set(keep: int) -> None:
    """Drop every capability that is not in the mask `keep` from the bounding set. Raises OSError."""
    none = c_ulong(0)
    for number in range(_CAPABILITIES):
        if keep >> number & 1:
            continue
        failed = attempt("prctl", c_int(_PR_CAPBSET_DROP), c_ulong(number), none, none, none)
        if failed == -errno.EINVAL:
            return  # the kernel knows no capability from here on
        if failed:
            raise OSError(-failed, f"capability {number} cannot be dropped: {os.strerror(-failed)}")


def clear_ambient_capabilities() -> None:
    """Empty the ambient set, see capabilities(7)."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def set_capabilities(mask: int) -> None:
    """Make `mask` (bit n is capability n) the permitted and effective sets, and the inheritable set empty."""
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    halves = (_CapData * 2)(*(_CapData(half, half, 0) for half in (mask & 0xFFFFFFFF, mask >> 32)))
    call("capset", ctypes.byref(header), ctypes.byref(halves))


def install_seccomp_filter(program: bytes) -> None:
    """Install a compiled filter (an array of struct sock_filter) on this process and all its children to come."""
    prog = _SockFprog(len(program) // 8, program)
    call("prctl", c_int(_PR_SET_SECCOMP), c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(prog), c_ulong(0), c_ulong(0))
