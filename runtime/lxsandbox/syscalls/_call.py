"""The one place that calls libc and turns a failure into an OSError whose message is the call itself."""

import ctypes
import errno
import os

TYPE_CHECKING = False  # typing is not loaded in the spawner
if TYPE_CHECKING:
    from typing import Any

__all__ = ["attempt", "call", "syscall"]

# PyDLL keeps the GIL: none of these calls blocks, and a clone must not run while another thread holds interpreter locks.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
# Looked up here, once, and not in every clone of the spawner.
_NAMES = ("capset", "fstatfs", "mount", "prctl", "setns", "syscall", "umount2", "unshare")
_functions = {name: getattr(_libc, name) for name in _NAMES}


def call(name: str, *args: "Any") -> int:
    """Call the libc function `name`. Raises OSError with errno and the call as text."""
    result: int = _functions[name](*args)
    if result == -1:
        raise _error(name, args)
    return result


def syscall(name: str, number: int, *args: "Any") -> int:
    """Make system call `number`, which `name` is for the message only. Raises OSError like `call`."""
    result: int = _libc.syscall(ctypes.c_long(number), *args)
    if result == -1:
        raise _error(name, args)
    return result


def attempt(name: str, *args: "Any") -> int:
    """Call the libc function `name`; what it returns, or the errno as a negative number. For failures that are expected."""
    result: int = _functions[name](*args)
    return -ctypes.get_errno() if result == -1 else result


def _error(name: str, args: "tuple[Any, ...]") -> OSError:
    number = ctypes.get_errno()
    shown = ", ".join(repr(getattr(arg, "value", arg)) for arg in args if isinstance(arg, bytes) or hasattr(arg, "value"))
    return OSError(number, f"{errno.errorcode.get(number, number)}: {name}({shown}): {os.strerror(number)}")
