"""Looking at what runs, from another program: `ps`, `logs`, `shell ID`, and `gc` for what was left."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from needs import needs

if TYPE_CHECKING:
    from lxsandbox.sandbox.sandbox import Sandbox

Command = Callable[..., subprocess.CompletedProcess[str]]
OpenTerminal = Callable[..., Any]

runs_sandboxes = needs("user-namespaces", "overlayfs", "libseccomp")


def _logs_once_begun(command: Command, reference: str) -> str:
    """The service reads what is printed a moment after it was: ask until it has."""
    for _ in range(50):
        done = command("logs", reference)
        assert done.returncode == 0, done.stderr
        if done.stdout:
            return done.stdout
    pytest.fail("nothing was printed")


def test_ps_without_anything_is_an_empty_list(lxsandbox_command: Command) -> None:
    assert json.loads(lxsandbox_command("ps", "--json").stdout) == []
    assert lxsandbox_command("ps").stdout.split()[:2] == ["ID", "NAME"]


@runs_sandboxes
def test_ps_lists_the_sandboxes_of_other_programs(lxsandbox_command: Command, running: Sandbox) -> None:
    (listed,) = json.loads(lxsandbox_command("ps", "--json").stdout)
    assert {"id", "name", "image", "state", "pid", "owner", "created", "memory_bytes", "labels", "command", "run"} <= set(listed)
    assert (listed["id"], listed["name"], listed["image"]) == (running.id, "busy", "host")
    assert (listed["state"], listed["pid"]) == ("running", running.pid)
    assert listed["labels"] == {"of": "the suite"}


@runs_sandboxes
def test_ps_into_a_pipe_is_a_line_for_each(lxsandbox_command: Command, running: Sandbox) -> None:
    header, line = lxsandbox_command("ps").stdout.splitlines()
    assert header.startswith("ID ")
    assert line.startswith(running.id)
    assert " busy " in line


@runs_sandboxes
def test_ps_lists_several_runs(
    lxsandbox_command: Command, lxsandbox_process: Callable[..., subprocess.Popen[str]], running: Sandbox
) -> None:
    other = lxsandbox_process("run", "--name", "second", "host", "--", "sh", "-c", "echo begun; exec sleep 1000")
    assert other.stdout is not None
    assert other.stdout.readline() == "begun\n"
    listed = json.loads(lxsandbox_command("ps", "--json").stdout)
    assert [each["name"] for each in listed] == ["busy", "second"]
    assert len({each["run"] for each in listed}) == 2


@runs_sandboxes
def test_looking_keeps_nothing_alive_and_ends_nothing(lxsandbox_command: Command, running: Sandbox) -> None:
    lxsandbox_command("ps")
    assert running.check_output(["echo", "alive"]) == "alive\n"


@runs_sandboxes
def test_logs_are_found_by_id_by_its_start_and_by_name(lxsandbox_command: Command, running: Sandbox) -> None:
    for reference in (running.id, running.id[:6], running.name):
        assert _logs_once_begun(lxsandbox_command, reference) == "I have begun\n"


@runs_sandboxes
def test_shell_enters_a_running_sandbox_and_leaves_it_running(terminal: OpenTerminal, running: Sandbox) -> None:
    running.path("/tmp/note").write_text("left by the owner\n")
    window = terminal("shell", "busy")
    window.type("cat /tmp/note; tty; exit 5\n")
    window.wait_for("left by the owner")
    window.wait_for("/dev/pts/")
    assert window.wait() == 5
    assert running.check_output(["echo", "alive"]) == "alive\n"


@runs_sandboxes
@needs("cgroup-freezer")
def test_shell_wakes_a_paused_sandbox(terminal: OpenTerminal, running: Sandbox) -> None:
    running.pause()
    window = terminal("shell", running.id)
    window.type("echo aw''ake; exit 0\n")
    window.wait_for("awake")
    assert window.wait() == 0
    running.resume()


@runs_sandboxes
def test_shell_over_an_image_is_a_fresh_sandbox_gone_with_it(terminal: OpenTerminal, lxsandbox_command: Command) -> None:
    window = terminal("shell", "--hostname", "fresh", "host")
    window.type("uname -n | tr a-z A-Z; exit 0\n")
    window.wait_for("FRESH")
    assert window.wait() == 0
    assert json.loads(lxsandbox_command("ps", "--json").stdout) == []


@runs_sandboxes
def test_limits_for_a_sandbox_that_runs_already_are_a_mistake(lxsandbox_command: Command, running: Sandbox) -> None:
    done = lxsandbox_command("shell", "--memory", "1G", "busy")
    assert done.returncode == 125
    assert "memory cannot be given" in done.stderr


def test_gc_removes_the_run_of_a_dead_service(lxsandbox_command: Command, run_folders: Path) -> None:
    dead = run_folders / "run-dead"
    (dead / "scratch").mkdir(parents=True, mode=0o700)
    (dead / "lock").touch()
    done = lxsandbox_command("gc", "--json")
    assert done.returncode == 0
    assert [Path(name).name for name in json.loads(done.stdout)] == ["run-dead"]
    assert not dead.exists()


@runs_sandboxes
def test_gc_leaves_a_run_alone_that_is_alive(lxsandbox_command: Command, running: Sandbox) -> None:
    assert json.loads(lxsandbox_command("gc", "--json").stdout) == []
    assert running.check_output(["echo", "alive"]) == "alive\n"


def test_gc_says_how_much_it_removed(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("gc")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "removed: 0 runs\n")
