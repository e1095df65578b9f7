"""Why a sandbox has ended, as whoever uses it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from events import until
from needs import needs

from lxsandbox import Sandbox, SandboxDied
from lxsandbox.errors import Death
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs")

Make = Callable[..., Sandbox]


def python(code: str) -> list[str]:
    return ["/usr/bin/python3", "-I", "-S", "-c", code]


def death_of(box: Sandbox) -> Death:
    """The cause, which every call is answered with once it has ended."""
    until(lambda: box.state == "exited", "it has ended")
    calls: list[Callable[[], Any]] = [lambda: box.run(["true"]), box.stats, box.logs, lambda: box.path("/x").exists(), box.pause]
    found = []
    for call in calls:
        with pytest.raises(SandboxDied) as caught:
            call()
        found.append(caught.value.death)
        assert box.name in str(caught.value)
    assert found == found[:1] * len(found)
    return found[0]


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_end_of_the_main_command_is_the_sandboxes(make_sandbox: Make, code: int) -> None:
    death = death_of(make_sandbox(command=["sh", "-c", f"echo one; echo two >&2; exit {code}"]))

    assert (death.reason, death.exit_code, death.signal) == ("exit", code, None)
    assert death.log_tail == "one\ntwo"


def test_a_signal_that_ends_the_main_command_is_named(make_sandbox: Make) -> None:
    death = death_of(make_sandbox(command=["sh", "-c", "echo last words; kill -SEGV $$"]))

    assert (death.reason, death.signal, death.log_tail) == ("signal", 11, "last words")


@needs("cgroup-memory")
def test_a_main_command_that_wants_too_much_memory_dies_of_that(make_sandbox: Make) -> None:
    command = python("print('hungry', flush=True); x = b'x' * (200 << 20)")
    death = death_of(make_sandbox(memory="48M", swap=0, command=command))

    assert (death.reason, death.memory_limit_bytes, death.log_tail) == ("oom", 48 << 20, "hungry")
    assert death.memory_peak_bytes is not None
    assert 40 << 20 < death.memory_peak_bytes <= 49 << 20
    assert "out of memory, limit 48 MiB" in str(death)


@needs("cgroup-memory")
def test_an_earlier_command_that_was_out_of_memory_is_not_why(make_sandbox: Make) -> None:
    box = make_sandbox(memory="48M", swap=0, command=["sh", "-c", "until test -e /go; do sleep 0.01; done; exit 3"])
    assert box.run(python("x = b'x' * (200 << 20)")).returncode == -9
    box.path("/go").write_text("")

    assert death_of(box).reason == "exit"


def test_its_time_out_ends_it_and_is_said(make_sandbox: Make) -> None:
    death = death_of(make_sandbox(timeout=0.3, command=["sh", "-c", "echo begun; exec sleep 1000"]))

    assert (death.reason, death.timeout_seconds, death.log_tail) == ("timeout", 0.3, "begun")
    assert "0.3 s" in str(death)


def test_a_time_out_ends_a_sandbox_without_a_main_command_and_what_runs_in_it(make_sandbox: Make) -> None:
    box = make_sandbox(timeout=0.3)

    with pytest.raises(SandboxDied, match="timed out"):
        box.run(["sleep", "1000"])


def test_a_time_out_that_has_not_come_does_nothing(make_sandbox: Make) -> None:
    with make_sandbox(timeout=1000) as box:
        assert box.run(["true"]).returncode == 0
    assert box.death is not None
    assert box.death.reason == "closed"


@needs("cgroup-freezer")
def test_a_paused_sandbox_times_out_too(make_sandbox: Make) -> None:
    box = make_sandbox(timeout=0.3)
    box.pause()

    until(lambda: box._control.channel.ended, "it has ended")
    with pytest.raises(SandboxDied, match="timed out"):
        box.run(["true"])


def test_one_that_was_killed_was_killed(make_sandbox: Make) -> None:
    box = make_sandbox()
    box.kill()

    assert death_of(box).reason == "killed"


def test_one_that_was_closed_was_closed(make_sandbox: Make) -> None:
    box = make_sandbox()
    box.close()
    box.close()

    assert death_of(box).reason == "closed"
    assert box.final_stats is not None


def test_whoever_waits_is_told_when_another_closes_it(make_sandbox: Make) -> None:
    box = make_sandbox()
    process = box.popen(["sleep", "1000"])
    Sandbox.attach(box.id, connection=box._control.connection).close()

    with pytest.raises(SandboxDied, match="was closed"):
        process.wait(30)
    process._close_files()


def test_the_tail_of_a_long_log_is_its_last_lines(make_sandbox: Make) -> None:
    death = death_of(make_sandbox(command=["seq", "1", "5000"]))

    assert death.log_tail.splitlines() == [str(number) for number in range(4981, 5001)]


def test_a_sandbox_that_ended_while_nobody_asked_is_remembered(connection: ServiceConnection) -> None:
    box = Sandbox(command=["false"], connection=connection)
    until(lambda: connection.request("list")["sandboxes"] == [], "it has gone")

    assert connection.request("death", sandbox=box.id)["death"]["exit_code"] == 1
    box.close()
    assert box.death is not None
    assert box.death.reason == "exit"
