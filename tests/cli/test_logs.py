"""`lxsandbox logs`: what is printed, what is printed from now on, and that Ctrl-C ends it quietly."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from events import until
from needs import needs

from lxsandbox.errors import SandboxDied
from lxsandbox.sandbox.sandbox import Sandbox

Command = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp")


@pytest.fixture
def counting(run_folders: Path) -> Iterator[Sandbox]:
    """A sandbox whose command prints three lines, and a fourth when `/tmp/more` appears; then it goes on, or ends."""
    script = "seq 3; mkfifo /tmp/more; cat /tmp/more; [ -e /tmp/end ] || exec sleep 1000"
    with Sandbox("host", name="counting", command=["sh", "-c", script]) as sandbox:
        until(lambda: sandbox.path("/tmp/more").exists(), "it has printed three lines")
        yield sandbox


@pytest.mark.parametrize(("tail", "printed"), [("2", "2\n3\n"), ("0", ""), ("all", "1\n2\n3\n"), ("100", "1\n2\n3\n")])
def test_the_last_lines_alone(lxsandbox_command: Command, counting: Sandbox, tail: str, printed: str) -> None:
    assert lxsandbox_command("logs", "--tail", tail, "counting").stdout == printed


@pytest.mark.parametrize("tail", ["-1", "1.5", "many", ""])
def test_what_is_no_number_of_lines_is_a_mistake(lxsandbox_command: Command, tail: str) -> None:
    done = lxsandbox_command("logs", "--tail", tail, "counting")
    assert done.returncode == 125
    assert "neither a number of lines" in done.stderr


def test_following_prints_what_comes_and_ends_with_the_sandbox(lxsandbox_process: Start, counting: Sandbox) -> None:
    follower = lxsandbox_process("logs", "--follow", "--tail", "1", counting.id)
    assert follower.stdout is not None
    assert follower.stdout.readline() == "3\n"

    with suppress(SandboxDied):  # it may end before the one that told it to
        counting.run(["sh", "-c", "touch /tmp/end; echo the end > /tmp/more"])

    assert follower.stdout.read() == "the end\n"
    assert follower.wait(30) == 0


def test_ctrl_c_ends_following_quietly_and_nothing_else(lxsandbox_process: Start, counting: Sandbox) -> None:
    follower = lxsandbox_process("logs", "-f", "counting")
    assert follower.stdout is not None
    assert [follower.stdout.readline() for _ in range(3)] == ["1\n", "2\n", "3\n"]

    follower.send_signal(signal.SIGINT)

    _, errors = follower.communicate(timeout=30)
    assert (follower.returncode, errors) == (130, "")
    assert counting.state == "running"


def test_following_what_does_not_run_is_an_error(lxsandbox_command: Command, run_folders: Path) -> None:
    done = lxsandbox_command("logs", "-f", "nobody")
    assert done.returncode == 125
    assert "no sandbox 'nobody' runs" in done.stderr
