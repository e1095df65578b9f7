"""openat2(2), close_range(2): opening below a root that is not trusted, and letting go of descriptors."""

import ctypes
import os
from collections.abc import Iterable
from ctypes import c_char_p, c_int, c_size_t, c_uint, c_uint64

from lxsandbox.syscalls._call import call, syscall

__all__ = ["close_all_but", "is_of_proc", "openat2"]

# include/uapi/linux/openat2.h
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 0x02, 0x04, 0x08, 0x10
_SYS_CLOSE_RANGE, _SYS_OPENAT2 = 436, 437
_LAST_FD = 0xFFFFFFFF
_PROC_SUPER_MAGIC = 0x9FA0  # include/uapi/linux/magic.h


class _OpenHow(ctypes.Structure):
    """struct open_how (24 bytes, Linux 5.6), see openat2(2)."""

    _fields_ = [(name, c_uint64) for name in ("flags", "mode", "resolve")]


def openat2(root: int, path: str, flags: int, *, mode: int = 0, links: bool = True) -> int:
    """Open `path` with `root` as the root of every lookup; magic links never, other links only if `links`.

    The descriptor is close-on-exec. Raises OSError, with ELOOP for a link where none is allowed.
    """
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (0 if links else RESOLVE_NO_SYMLINKS)
    how = _OpenHow(flags=flags | os.O_CLOEXEC, mode=mode if flags & (os.O_CREAT | os.O_TMPFILE) else 0, resolve=resolve)
    return syscall(
        "openat2", _SYS_OPENAT2, c_int(root), c_char_p(os.fsencode(path)), ctypes.byref(how), c_size_t(ctypes.sizeof(how))
    )


def is_of_proc(fd: int) -> bool:
    """Whether the file lies on a proc file system, see fstatfs(2)."""
    status = (ctypes.c_long * 32)()  # more than a struct statfs of any architecture, which begins with f_type
    call("fstatfs", c_int(fd), ctypes.byref(status))
    return status[0] == _PROC_SUPER_MAGIC


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor of this process that is not in `keep`."""
    first = 0
    for fd in sorted(set(keep)):
        if fd > first:
            _close_range(first, fd - 1)
        first = fd + 1
    _close_range(first, _LAST_FD)


def _close_range(first: int, last: int) -> None:
    syscall("close_range", _SYS_CLOSE_RANGE, c_uint(first), c_uint(last), c_uint(0))
