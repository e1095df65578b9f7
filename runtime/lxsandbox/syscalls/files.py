"""openat2(2), close_range(2): opening below a root that is not trusted, and letting go of descriptors."""

import ctypes
import errno
import os
from collections.abc import Iterable
from ctypes import c_char_p, c_int, c_long, c_size_t, c_uint, c_uint64

from lxsandbox.syscalls._call import attempt, call, syscall

TYPE_CHECKING = False  # typing is not loaded in the spawner
if TYPE_CHECKING:
    from typing import Any

__all__ = ["close_all_but", "find", "is_of_proc", "openat2"]

# include/uapi/linux/openat2.h
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 0x02, 0x04, 0x08, 0x10
_SYS_CLOSE_RANGE, _SYS_OPENAT2 = 436, 437
_LAST_FD = 0xFFFFFFFF
_PROC_SUPER_MAGIC = 0x9FA0  # include/uapi/linux/magic.h


class _OpenHow(ctypes.Structure):
    """struct open_how (24 bytes, Linux 5.6), see openat2(2)."""

    _fields_ = [(name, c_uint64) for name in ("flags", "mode", "resolve")]


_OPEN_HOW_BYTES = c_size_t(ctypes.sizeof(_OpenHow))


def openat2(root: int, path: str, flags: int, *, mode: int = 0, links: bool = True) -> int:
    """Open `path` with `root` as the root of every lookup; magic links never, other links only if `links`.

    The descriptor is close-on-exec. Raises OSError, with ELOOP for a link where none is allowed.
    """
    return syscall("openat2", _SYS_OPENAT2, *_openat2_arguments(root, path, flags, mode, links))


def find(root: int, path: str, *, links: bool = True) -> int | None:
    """An O_PATH descriptor like that of `openat2`, or None where there is nothing of that name. Raises OSError."""
    arguments = _openat2_arguments(root, path, os.O_PATH, 0, links)
    found = attempt("syscall", c_long(_SYS_OPENAT2), *arguments)
    if found == -errno.ENOENT:
        return None
    return found if found >= 0 else openat2(root, path, os.O_PATH, links=links)


def _openat2_arguments(root: int, path: str, flags: int, mode: int, links: bool) -> "tuple[Any, ...]":
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (0 if links else RESOLVE_NO_SYMLINKS)
    how = _OpenHow(flags | os.O_CLOEXEC, mode if flags & (os.O_CREAT | os.O_TMPFILE) else 0, resolve)
    return c_int(root), c_char_p(os.fsencode(path)), ctypes.byref(how), _OPEN_HOW_BYTES


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
