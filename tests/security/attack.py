"""Running an attempt inside a sandbox, as its root, and reading what came of it."""

from __future__ import annotations

import sys
import textwrap

from lxsandbox import Sandbox

__all__ = ["attempt"]

_PRELUDE = """
import ctypes, errno, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *args)
    return "done" if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")
def tried(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except OSError as error:
        return errno.errorcode.get(error.errno, "?")
    return "done"
"""


def attempt(box: Sandbox, code: str) -> str:
    """What `code` prints when the sandbox's root runs it with Python; `call(number, ...)` and `tried(function, ...)` are there.

    Both give "done" or the name of the errno.
    """
    done = box.run([sys.executable, "-S", "-c", _PRELUDE + textwrap.dedent(code)], timeout=60)
    assert done.returncode == 0, done.stderr
    text: str = done.stdout
    return text.strip()
