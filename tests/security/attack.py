"""Running an attempt inside a sandbox, as its root, and reading what came of it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from subprocess import DEVNULL

from lxsandbox import Sandbox

__all__ = ["ambush", "attempt"]

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


def ambush(make_sandbox: Callable[..., Sandbox], code: str, *, starts: int) -> tuple[int, list[str]]:
    """Run the Python program `code` inside, which says "ready" and then lies in wait while so many commands are started.

    How often it met one on its way to exec, and what it says it got.
    """
    sandbox = make_sandbox(rlimits={"nofile": 256})  # takes the longer way, on which init's clone can be met
    with sandbox.popen([sys.executable, "-I", "-S", "-c", code], stderr=DEVNULL) as waiting:
        assert waiting.stdout is not None
        try:
            assert waiting.stdout.readline() == "ready\n"
            for _ in range(starts):
                sandbox.run(["true"], check=True, timeout=10)
            sandbox.path("/tmp/enough").write_text("")
            seen, *got = waiting.stdout.read().split()
        finally:
            waiting.kill()
    return int(seen), got
