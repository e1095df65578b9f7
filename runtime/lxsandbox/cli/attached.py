"""One command in a sandbox, with this program's own stdin, stdout and stderr, or a terminal joined to this one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from subprocess import DEVNULL
from typing import TYPE_CHECKING

from lxsandbox.cli.terminal import joined, window_size

if TYPE_CHECKING:
    from lxsandbox.sandbox.sandbox import Sandbox

__all__ = ["run_attached", "run_in_terminal"]


def run_attached(sandbox: Sandbox, args: Sequence[str], *, stdin: bool) -> int:
    """Run the command on this program's own descriptors, with an empty stdin unless `stdin`. Returns the exit code."""
    sys.stdout.flush()
    process = sandbox.popen(args, stdin=0 if stdin else DEVNULL, stdout=1, stderr=2)
    return _exit_code(process.wait())


def run_in_terminal(sandbox: Sandbox, args: Sequence[str]) -> int:
    """Run the command in a terminal of its own, joined to this one. Returns the exit code."""
    env = {"TERM": os.environ.get("TERM", "xterm")}
    process = sandbox.popen(args, pty=True, env=env)
    process.resize(*window_size())
    with joined(process):
        status = process.wait()
    return _exit_code(status)


def _exit_code(status: int) -> int:
    """As shells and container tools have it: 128+n for signal n."""
    return 128 - status if status < 0 else status
