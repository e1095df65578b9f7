"""Commands with a terminal of the sandbox's own."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.errors import SandboxError
from lxsandbox.sandbox.process import Process

pytestmark = needs("user-namespaces", "overlayfs")


@contextmanager
def on_terminal(box: Sandbox, *args: str, user: str | None = None) -> Iterator[Process]:
    process = box.popen(args, pty=True, user=user)
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)
        assert process.terminal is not None
        process.terminal.close()


def shown(process: Process, text: str) -> str:
    """What is shown up to `text`."""
    assert process.terminal is not None
    seen = b""
    while text.encode() not in seen:
        assert select.select([process.terminal], [], [], 30)[0], f"no {text!r} in {seen!r}"
        seen += os.read(process.terminal.fileno(), 4096)
    return seen.decode()


def typed(process: Process, text: str) -> None:
    assert process.terminal is not None
    process.terminal.write(text.encode())


@pytest.mark.parametrize("user", [None, "1000"])
def test_all_three_streams_are_the_terminal(sandbox: Sandbox, user: str | None) -> None:
    if user:
        needs_ids(sandbox)
    with on_terminal(sandbox, "sh", "-c", "test -t 0 && test -t 1 && test -t 2 && tty; echo end", user=user) as process:
        assert "/dev/pts/0" in shown(process, "end\r\n")


def needs_ids(sandbox: Sandbox) -> None:
    if sandbox._control.connection.hello.mapping == "single":
        pytest.skip("one id is mapped here")


def test_without_one_nothing_is_a_terminal(sandbox: Sandbox) -> None:
    assert sandbox.run(["sh", "-c", "test -t 0 || test -t 1 || test -t 2 || tty"]).stdout == "not a tty\n"


def test_its_size_can_be_set_and_programs_are_told(sandbox: Sandbox) -> None:
    script = "trap 'stty size' WINCH; echo ready; while :; do read line && echo got; done"
    with on_terminal(sandbox, "sh", "-c", script) as process:
        shown(process, "ready")
        process.resize(33, 101)
        typed(process, "\n")  # a shell runs its trap between commands
        shown(process, "33 101")


def test_ctrl_c_is_the_terminals_and_ends_the_command(sandbox: Sandbox) -> None:
    with on_terminal(sandbox, "sh", "-c", "echo ready; exec sleep 1000") as process:
        shown(process, "ready")
        typed(process, "\x03")
        assert process.wait(30) == -signal.SIGINT


def test_ctrl_c_leaves_other_commands_alone(sandbox: Sandbox) -> None:
    with (
        on_terminal(sandbox, "sleep", "1000") as other,
        on_terminal(sandbox, "sh", "-c", "echo ready; exec sleep 1000") as process,
    ):
        shown(process, "ready")
        typed(process, "\x03")
        process.wait(30)
        assert other.poll() is None


def test_what_is_typed_is_echoed_and_read(sandbox: Sandbox) -> None:
    with on_terminal(sandbox, "sh", "-c", 'read line; echo "<$line>"') as process:
        typed(process, "hello\n")
        assert "hello\r\n<hello>" in shown(process, "<hello>")


def test_its_end_ends_what_is_read_from_it(sandbox: Sandbox) -> None:
    process = sandbox.popen(["sh", "-c", "echo last words"], pty=True)

    assert process.communicate(timeout=30)[0] == "last words\n"
    assert process.returncode == 0


def test_a_sandbox_without_its_multiplexer_says_so(sandbox: Sandbox) -> None:
    sandbox.run(["umount", "/dev/pts"])  # not allowed; whatever comes of it, the terminal is the kernel's or refused
    sandbox.run(["sh", "-c", "rm -f /dev/pts/ptmx /dev/ptmx"])
    try:
        with on_terminal(sandbox, "sh", "-c", "test -t 0 && echo yes") as process:
            shown(process, "yes")
    except (SandboxError, OSError) as error:
        assert "ptmx" in str(error)  # noqa: PT017 - either is right
