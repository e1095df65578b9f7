"""Processes that do not want to end, or cannot: what is asked for ends within its bound, and says what it waits for."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from events import until, wait_for_end
from faults.runs import Program, Runs, kill
from faults.stuck_files import stuck_file_system
from needs import needs

from lxsandbox.errors import SandboxDied, SandboxError
from lxsandbox.sandbox.connection import ServiceConnection
from lxsandbox.sandbox.process import Process
from lxsandbox.sandbox.sandbox import Sandbox
from lxsandbox.spec import Bind

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp")

DEAF = "trap '' TERM INT HUP; echo deaf; while :; do sleep 1000; done"


@pytest.fixture
def connection(runs: Runs) -> Iterator[ServiceConnection]:
    connection = ServiceConnection.open()
    yield connection
    connection.leave()


def _deaf_in(box: Sandbox) -> Process:
    process = box.popen(["sh", "-c", DEAF], stdout=-1)
    assert process.stdout is not None
    assert process.stdout.readline() == "deaf\n"
    return process


def test_stop_ends_what_ignores_sigterm(runs: Runs) -> None:
    with Sandbox() as box, _deaf_in(box) as process:
        box.stop(timeout=0.2)
        assert box.state == "exited"
        with pytest.raises(SandboxDied):
            process.wait(10)


def test_stop_ends_a_main_command_that_ignores_sigterm(runs: Runs) -> None:
    with Sandbox(command=["sh", "-c", DEAF]) as box:
        until(lambda: box.logs() == "deaf\n", "the trap of the main command")
        began = time.monotonic()
        box.stop(timeout=0.2)
        assert 0.2 <= time.monotonic() - began < 10
        assert box.death is not None
        assert box.death.reason == "killed"


def test_stop_does_not_wait_for_what_ends_by_itself(runs: Runs) -> None:
    with Sandbox(command=["sleep", "1000"]) as box:
        began = time.monotonic()
        box.stop(timeout=60)
        assert time.monotonic() - began < 30
        assert box.state == "exited"


def test_a_time_out_ends_what_ignores_every_signal_and_has_left_its_group(runs: Runs) -> None:
    with Sandbox() as box:
        with pytest.raises(subprocess.TimeoutExpired):
            box.run(["sh", "-c", f"setsid --wait sh -c '{DEAF.replace(chr(39), chr(34))}' & wait"], timeout=0.3)
        processes, itself = box.check_output(["sh", "-c", "echo /proc/[0-9]*; echo /proc/$$"]).splitlines()
        assert processes.split() == ["/proc/1", itself]


def test_who_waits_in_vfork_is_killed_like_any_other(connection: ServiceConnection) -> None:
    # The parent is in state D until its child execs or ends; this child does neither.
    code = "import ctypes; c = ctypes.CDLL(None); print('forking', flush=True); c.vfork() == 0 and c.pause()"
    with Sandbox(connection=connection) as box:
        with box.popen(["python3", "-c", code], stdout=-1) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "forking\n"
            box.close()
        wait_for_end(box.pid)


@pytest.fixture
def stuck(connection: ServiceConnection, tmp_path: Path) -> Iterator[tuple[Sandbox, Process]]:
    """A sandbox with a process in it that no signal ends, while the fixture lasts."""
    with stuck_file_system(tmp_path) as asked:
        box = Sandbox(connection=connection, mounts=[Bind(tmp_path, "/mnt")])
        process = box.popen(["cat", "/mnt/name"])
        assert asked.wait(30)
        yield box, process
    with box, process:
        wait_for_end(box.pid)


@needs("root")
def test_a_process_that_cannot_be_killed_is_named_and_holds_nobody_up(
    stuck: tuple[Sandbox, Process], connection: ServiceConnection
) -> None:
    box, process = stuck
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    process.kill()
    began = time.monotonic()
    with pytest.raises(SandboxError, match=r"has not ended: process \d+ \(request_wait_answer\)"):
        box.close()
    assert time.monotonic() - began < 20
    with Sandbox(connection=connection) as another:
        another.run(["true"], check=True)


@needs("root")
@pytest.mark.slow
def test_a_run_with_one_that_cannot_be_killed_ends_and_says_so(
    stuck: tuple[Sandbox, Process], connection: ServiceConnection
) -> None:
    leaked = connection.request("settle")["leaked"]
    assert leaked["processes"] == 0  # it is alive, and nobody has asked for its end
    with pytest.raises(SandboxError, match="has not ended"):
        stuck[0].close()
    assert connection.request("settle")["leaked"]["processes"] >= 1


@needs("cgroup-freezer")
def test_a_paused_sandbox_whose_service_was_killed_is_ended_by_the_next_start(runs: Runs, start: Callable[..., Program]) -> None:
    program = start(
        "from lxsandbox import Sandbox; box = Sandbox(command=['sleep', '1000'])\n"
        "box.pause(); print(box.pid, flush=True); input()"
    )
    init = int(program.line())
    for pid in [*runs.services(), program.pid]:
        kill(pid)
    program.end()
    runs.clean_up()
    wait_for_end(init)


def test_after_the_spawners_death_sandboxes_go_on_and_the_next_one_has_a_new_spawner(
    runs: Runs, connection: ServiceConnection
) -> None:
    with (
        Sandbox(connection=connection, name="first") as box,
        box.popen(["sh", "-c", "echo up; cat"], stdin=-1, stdout=-1) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        (spawner,) = runs.spawners()
        kill(spawner)
        wait_for_end(spawner)
        assert box.check_output(["echo", "on"]) == "on\n"
        assert process.communicate("still\n")[0] == "still\n"
        with Sandbox(connection=connection, hostname="another-shape") as another:  # its root was not made ahead
            another.run(["true"], check=True)
        (another_spawner,) = until(runs.spawners, "there is one again")  # for those made ahead, in the next pause
        assert another_spawner != spawner


def test_spawners_that_are_killed_one_after_another_are_replaced(runs: Runs, connection: ServiceConnection) -> None:
    for number in range(5):
        for spawner in until(runs.spawners, "there is one"):
            kill(spawner)
            wait_for_end(spawner)
        with Sandbox(connection=connection, hostname=f"shape-{number}") as box:
            box.run(["true"], check=True)
