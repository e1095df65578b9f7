"""The processes of a sandbox as a whole: killed with all that they started, restarted, stopped, reaped."""

from __future__ import annotations

import signal
from collections.abc import Callable
from subprocess import TimeoutExpired

import pytest
from events import until
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.errors import SandboxDied
from lxsandbox.sandbox.process import Process

pytestmark = needs("user-namespaces", "overlayfs")

# A daemon as daemon(7) makes one: two forks, a session of its own, nothing kept open.
DAEMON = "(setsid sh -c 'exec sleep {0}' </dev/null >/dev/null 2>&1 &)"


def sleeping(box: Sandbox) -> set[str]:
    """The arguments of all sleeping commands in it."""
    return {line.split()[-1] for line in box.run(["pgrep", "-a", "sleep"]).stdout.splitlines()}


def started(box: Sandbox, script: str) -> Process:
    """A shell that has done `script`, and waits."""
    process = box.popen(["sh", "-c", f"{script}\necho ready; read x"])
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill_tree(box: Sandbox, process: Process) -> None:
    box._control.request("kill_tree", pid=process.pid)
    assert process.wait(30) == -signal.SIGKILL
    process.communicate()


@pytest.mark.parametrize(
    "script",
    [
        "sleep 111 &",
        "(sleep 111 &)",
        "setsid sleep 111 &",
        DAEMON.format(111),
        "sh -c 'sleep 111 & sleep 111' &",
    ],
)
def test_a_command_is_killed_with_all_that_it_started(sandbox: Sandbox, script: str) -> None:
    process = started(sandbox, script)
    until(lambda: sleeping(sandbox) == {"111"}, "it sleeps")

    kill_tree(sandbox, process)

    until(lambda: sleeping(sandbox) == set(), "all are gone")


def test_other_commands_and_what_they_started_are_left_alone(sandbox: Sandbox) -> None:
    other = started(sandbox, "sleep 222 & (sleep 333 &)")
    process = started(sandbox, "sleep 111 & (sleep 111 &)")
    until(lambda: sleeping(sandbox) == {"111", "222", "333"}, "all sleep")

    kill_tree(sandbox, process)

    until(lambda: sleeping(sandbox) == {"222", "333"}, "the others alone are left")
    kill_tree(sandbox, other)


def test_a_time_out_kills_daemons_too(sandbox: Sandbox) -> None:
    with pytest.raises(TimeoutExpired):
        sandbox.run(["sh", "-c", f"{DAEMON.format(111)}; exec sleep 112"], timeout=0.5)

    until(lambda: sleeping(sandbox) == set(), "all are gone")


@needs("cgroup-pids")
def test_a_fork_bomb_is_killed_whole(make_sandbox: Callable[..., Sandbox]) -> None:
    box = make_sandbox(pids=60)
    with pytest.raises(TimeoutExpired):
        box.run(["sh", "-c", "bomb() { bomb | bomb & sleep 444; }; bomb; sleep 444"], timeout=0.5)

    assert box.run(["true"]).returncode == 0
    until(lambda: sleeping(box) == set(), "all are gone")


def test_orphans_are_reaped(sandbox: Sandbox) -> None:
    sandbox.run(["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do (true &) ; done"], check=True)

    def zombies() -> str:
        return sandbox.check_output(["sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ' || true"]).strip()

    until(lambda: zombies() == "0", "no zombie is left")


def test_a_signal_reaches_one_command_alone(sandbox: Sandbox) -> None:
    one, other = started(sandbox, "true"), started(sandbox, "true")

    one.send_signal(signal.SIGUSR1)

    assert one.wait(30) == -signal.SIGUSR1
    assert other.poll() is None
    for process in (one, other):
        process.communicate("x\n")


def test_a_signal_to_a_command_that_has_ended_is_no_error(sandbox: Sandbox) -> None:
    process = sandbox.popen(["true"])
    process.wait(30)

    process.send_signal(signal.SIGTERM)
    sandbox._control.request("signal", pid=process.pid, signal=15)
    sandbox._control.request("kill_tree", pid=process.pid)
    process.communicate()


def test_init_is_no_command_and_cannot_be_signalled_as_one(sandbox: Sandbox) -> None:
    for pid in (1, 0, -1):
        sandbox._control.request("signal", pid=pid, signal=9)

    assert sandbox.run(["true"]).returncode == 0


def test_commands_inside_cannot_end_init(sandbox: Sandbox) -> None:
    for number in ("TERM", "INT", "HUP", "KILL", "SEGV", "USR1", "CHLD", "STOP"):
        sandbox.run(["sh", "-c", f"kill -{number} 1"])

    assert sandbox.run(["true"]).returncode == 0


def test_a_signal_to_all_reaches_all(sandbox: Sandbox) -> None:
    processes = [started(sandbox, "true") for _ in range(3)]

    sandbox.kill(signal.SIGTERM)

    assert [process.wait(30) for process in processes] == [-signal.SIGTERM] * 3
    assert sandbox.state == "running"
    for process in processes:
        process.communicate()


def test_restart_kills_everything_and_starts_the_main_command_again(make_sandbox: Callable[..., Sandbox]) -> None:
    box = make_sandbox(command=["sh", "-c", "echo up >> /started; exec sleep 999"])
    until(lambda: sleeping(box) == {"999"}, "it runs")
    process = started(box, f"{DAEMON.format(111)}; touch /kept")
    main = box.main

    box.restart()

    assert process.wait(30) == -signal.SIGKILL
    process.communicate()
    until(lambda: sleeping(box) == {"999"}, "the main command alone runs")
    assert box.path("/started").read_text() == "up\nup\n"
    assert box.path("/kept").exists()
    assert main is not None
    assert box.main is not None
    assert box.main.pid != main.pid
    assert box.main.poll() is None


def test_restart_without_a_main_command_kills_everything(sandbox: Sandbox) -> None:
    process = started(sandbox, "sleep 111 &")

    sandbox.restart()

    assert process.wait(30) == -signal.SIGKILL
    process.communicate()
    assert sandbox.main is None
    assert sleeping(sandbox) == set()


def test_stop_asks_first(make_sandbox: Callable[..., Sandbox]) -> None:
    box = make_sandbox(command=["sh", "-c", "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done"])
    until(lambda: "up" in box.logs(), "it is up")

    box.stop(timeout=20)

    with pytest.raises(SandboxDied) as caught:
        box.run(["true"])
    assert (caught.value.death.reason, caught.value.death.exit_code) == ("exit", 7)
    assert "bye" in caught.value.death.log_tail


def test_stop_kills_what_does_not_listen(make_sandbox: Callable[..., Sandbox]) -> None:
    box = make_sandbox(command=["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.01; done"])
    until(lambda: "up" in box.logs(), "it is up")

    box.stop(timeout=0.2)

    assert box.state == "exited"
    with pytest.raises(SandboxDied, match="killed or stopped on request"):
        box.run(["true"])


def test_stop_ends_a_sandbox_without_a_main_command_too(sandbox: Sandbox) -> None:
    process = started(sandbox, "true")

    sandbox.stop(timeout=10)

    assert sandbox.state == "exited"
    process._close_files()
