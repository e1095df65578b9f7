"""`lxsandbox run`: the command's own output and exit code, limits that hold, and nothing left whatever ends it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from needs import needs

Command = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp")


def test_stdout_and_stderr_are_kept_apart(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("run", "host", "--", "sh", "-c", "echo out; echo err >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 128 + 9), ("kill -TERM $$", 128 + 15)]
)
def test_the_exit_code_is_the_commands(lxsandbox_command: Command, script: str, status: int) -> None:
    assert lxsandbox_command("run", "host", "--", "sh", "-c", script).returncode == status


@pytest.mark.parametrize(("command", "status"), [("/no/such/command", 127), ("no-such-command", 127), ("/etc/passwd", 126)])
def test_a_command_that_cannot_start_has_the_shells_exit_code(lxsandbox_command: Command, command: str, status: int) -> None:
    done = lxsandbox_command("run", "host", "--", command)
    assert done.returncode == status
    assert done.stderr.startswith("lxsandbox: error: ")
    assert command in done.stderr


def test_an_image_that_is_not_there_exits_with_125(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("run", "dir:/no/such/folder", "--", "true")
    assert done.returncode == 125
    assert "/no/such/folder" in done.stderr


def test_stdin_reaches_the_command_when_asked(lxsandbox_command: Command) -> None:
    assert lxsandbox_command("run", "-i", "host", "--", "cat", input="typed\n").stdout == "typed\n"


def test_stdin_is_empty_otherwise(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("run", "host", "--", "cat", input="typed\n")
    assert (done.returncode, done.stdout) == (0, "")


def test_options_stand_before_or_after_the_image_and_the_commands_own_after_the_dashes(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("run", "--name", "first", "host", "-w", "/usr", "--", "ls", "-d", "-w", "0", ".")
    assert (done.returncode, done.stdout) == (0, ".\n")


def test_the_environment_is_what_is_given(lxsandbox_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "passed by name")
    monkeypatch.setenv("SECRET", "not passed")
    names = ("-e", "GIVEN=a=b", "-e", "FROM_HERE", "-e", "NOWHERE")
    done = lxsandbox_command("run", *names, "host", "--", "env")
    lines = done.stdout.splitlines()
    assert "GIVEN=a=b" in lines
    assert "FROM_HERE=passed by name" in lines
    assert not any(line.startswith(("SECRET=", "NOWHERE=")) for line in lines)


def test_folder_user_and_host_name_are_as_asked(lxsandbox_command: Command) -> None:
    options = ("-w", "/usr/share", "-u", "0:0", "--hostname", "crash-lab")
    done = lxsandbox_command("run", *options, "host", "--", "sh", "-c", "pwd; id -u; uname -n")
    assert done.stdout.splitlines() == ["/usr/share", "0", "crash-lab"]


def test_mounts_show_the_host_as_their_mode_says(lxsandbox_command: Command, tmp_path: Path) -> None:
    for name in ("ro", "rw", "copy"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    mounts = [option for name in ("ro", "rw", "copy") for option in ("-v", f"{tmp_path / name}:/mnt/{name}:{name}")]
    script = "for name in ro rw copy; do echo x > /mnt/$name/file && echo $name; done 2>/dev/null"
    done = lxsandbox_command("run", *mounts, "host", "--", "sh", "-c", script)
    assert done.stdout.split() == ["rw", "copy"]
    assert [name for name in ("ro", "rw", "copy") if (tmp_path / name / "file").exists()] == ["rw"]


def test_a_read_only_root_takes_no_file(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("run", "--read-only", "host", "--", "touch", "/usr/file")
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr


@needs("cgroup-memory")
def test_a_memory_limit_that_was_given_holds(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("run", "--memory", "32M", "host", "--", "tail", "/dev/zero")
    assert done.returncode == 128 + 9


@needs("cgroup-pids")
def test_a_limit_on_processes_holds(lxsandbox_command: Command) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 & done; wait"
    done = lxsandbox_command("run", "--pids", "8", "host", "--", "sh", "-c", script)
    assert done.returncode != 0
    assert "fork" in done.stderr.lower()


@needs("root", "unshare")
def test_a_limit_that_this_host_cannot_hold_is_refused_by_name(lxsandbox_command: Command) -> None:
    without_cgroups = ("unshare", "--mount", "sh", "-ec", 'mount -t tmpfs none /sys/fs/cgroup; exec "$@"', "sh")
    done = lxsandbox_command("run", "--pids", "8", "host", "--", "true", prefix=without_cgroups)
    assert done.returncode == 125
    assert "pids" in done.stderr
    assert "hint: " in done.stderr


def test_a_sandbox_that_runs_too_long_is_killed_and_the_time_named(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("run", "--timeout", "0.5", "host", "--", "sleep", "1000")
    assert done.returncode == 128 + 9
    assert "timed out" in done.stderr
    assert "0.5 s" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_everything(
    lxsandbox_process: Callable[..., subprocess.Popen[str]], lxsandbox_command: Command, number: signal.Signals
) -> None:
    process = lxsandbox_process("run", "--name", "endless", "host", "--", "sh", "-c", "echo begun; exec sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    init = os.pidfd_open(_facts(lxsandbox_command, "endless")["pid"])
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert select.select([init], [], [], 10)[0]
    os.close(init)
    assert json.loads(lxsandbox_command("ps", "--json").stdout) == []


def test_a_pipe_that_nobody_reads_any_more_ends_the_command(run_folders: Path, lxsandbox_process: Callable[..., Any]) -> None:
    process = lxsandbox_process("run", "host", "--", "yes")
    assert process.stdout.readline() == "y\n"
    process.stdout.close()
    assert process.wait(30) == 128 + signal.SIGPIPE
    process.stdout = None


def test_with_a_terminal_the_command_has_one_of_its_window_size(terminal: Callable[..., Any]) -> None:
    window = terminal("run", "-t", "host", "--", "sh", "-c", "tty; read line; stty size; exit 7")
    window.wait_for("/dev/pts/")
    window.type("\n")
    window.wait_for("30 100")
    assert window.wait() == 7


def test_the_window_size_is_followed(terminal: Callable[..., Any]) -> None:
    script = "trap 'stty size' WINCH; trap 'exit 6' INT; echo begun; while :; do sleep 1000 & wait; done"
    window = terminal("run", "-t", "host", "--", "sh", "-c", script)
    window.wait_for("begun")
    window.resize(44, 133)
    window.process.send_signal(signal.SIGWINCH)  # the kernel sends it to the terminal's own session, which a test is not in
    window.wait_for("44 133")
    window.type("\x03")
    assert window.wait() == 6


def test_ctrl_c_in_a_terminal_is_for_the_command(terminal: Callable[..., Any]) -> None:
    window = terminal("run", "-t", "host", "--", "sh", "-c", "trap 'echo caught; exit 9' INT; echo begun; sleep 1000 & wait")
    window.wait_for("begun")
    window.type("\x03")
    window.wait_for("caught")
    assert window.wait() == 9


def test_the_terminal_is_afterwards_as_it_was(terminal: Callable[..., Any]) -> None:
    window = terminal("run", "-t", "host", "--", "sh", "-c", "stty raw -echo; echo done")
    assert window.wait() == 0
    assert window.settings == window.settings_before


def test_all_that_was_printed_to_a_terminal_is_shown(terminal: Callable[..., Any]) -> None:
    window = terminal("run", "-t", "host", "--", "sh", "-c", "seq 20000; printf end")
    assert window.wait() == 0
    assert window.shown.endswith("\n20000\r\nend")


def _facts(command: Command, name: str) -> dict[str, Any]:
    listed: list[dict[str, Any]] = json.loads(command("ps", "--json").stdout)
    return next(each for each in listed if each["name"] == name)


def test_a_command_is_run_again_as_its_policy_says(lxsandbox_command: Command) -> None:
    script = "echo x >> /tries; cat /tries | tr -d '\\n'; echo; [ $(wc -l < /tries) -ge 3 ] || exit 4"
    done = lxsandbox_command("run", "--restart", "on-failure", "host", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, "x\nxx\nxxx\n")

    done = lxsandbox_command("run", "--restart", "on-failure:1", "host", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (4, "x\nxx\n")


def test_a_policy_that_is_none_is_a_mistake(lxsandbox_command: Command) -> None:
    done = lxsandbox_command("run", "--restart", "sometimes", "host", "--", "true")
    assert done.returncode == 125
    assert "sometimes" in done.stderr
    assert "on-failure:N" in done.stderr


def test_ctrl_c_ends_what_is_run_again_for_ever(lxsandbox_process: Callable[..., subprocess.Popen[str]]) -> None:
    process = lxsandbox_process("run", "--restart", "always", "host", "--", "sh", "-c", "echo up; exit 1")
    assert process.stdout is not None
    for _ in range(5):
        assert process.stdout.readline() == "up\n"

    process.send_signal(signal.SIGINT)

    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")
