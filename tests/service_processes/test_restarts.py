"""A main command that has ended is started again, as the spec says, until the sandbox ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import TimeoutExpired

import pytest
from events import until
from needs import needs

from lxsandbox import Bind, Sandbox
from lxsandbox.errors import SandboxDied, SpecError

pytestmark = needs("user-namespaces", "overlayfs")

Make = Callable[..., Sandbox]


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


# Fails twice, then runs on.
THIRD_TIME = shell("echo x >> /tries; [ $(wc -l < /tries) -ge 3 ] || exit 4; echo it runs; exec sleep 999")


def test_a_failure_is_tried_again(make_sandbox: Make) -> None:
    box = make_sandbox(command=THIRD_TIME, restart="on-failure")

    until(lambda: "it runs" in box.logs(), "it runs")

    assert box.restarts == 2
    assert box.state == "running"
    assert box.main is not None
    assert box.main.poll() is None


def test_a_success_is_no_failure(make_sandbox: Make) -> None:
    box = make_sandbox(command=shell("exit 0"), restart="on-failure")

    died = until_end(box)

    assert (died.death.reason, died.death.exit_code, died.death.restarts) == ("exit", 0, 0)


def test_after_so_many_restarts_its_end_is_that_of_the_sandbox(make_sandbox: Make) -> None:
    box = make_sandbox(command=shell("echo failing; exit 4"), restart="on-failure:3")

    died = until_end(box)

    assert (died.death.reason, died.death.exit_code, died.death.restarts) == ("exit", 4, 3)
    assert "exited with code 4, after it was restarted 3 times" in str(died)
    assert died.death.log_tail == "\n".join(["failing"] * 4)
    assert box.restarts == 3


def test_always_is_after_a_success_too(make_sandbox: Make) -> None:
    box = make_sandbox(command=shell("echo done"), restart="always")

    until(lambda: box.logs().count("done") >= 4, "it was started four times")

    assert box.restarts >= 3


def test_a_signal_from_outside_is_a_failure_and_the_next_is_another_process(make_sandbox: Make) -> None:
    box = make_sandbox(command=shell("echo up; exec sleep 999"), restart="on-failure")
    first = box.main
    assert first is not None
    until(lambda: "up" in box.logs(), "it is up")

    first.send_signal(signal.SIGKILL)
    until(lambda: box.logs().count("up") == 2, "it is up again")

    second = box.main
    assert second is not None
    assert second.pid != first.pid
    assert (first.poll(), second.poll()) == (None, None)
    first.send_signal(signal.SIGTERM)  # the command, whichever process that is now
    until(lambda: box.restarts == 2, "it ended once more")


def test_what_the_old_one_left_is_killed(make_sandbox: Make) -> None:
    box = make_sandbox(
        command=shell("echo up $$; [ -e /once ] && exec sleep 222; touch /once; setsid sleep 111 & exit 1"), restart="on-failure"
    )

    until(lambda: box.logs().count("up") == 2, "it was started again")

    until(lambda: box.run(["pgrep", "-x", "sleep", "-a"]).stdout.split()[1:] == ["sleep", "222"], "it alone runs")


def test_waiting_for_it_is_until_its_end_for_good(make_sandbox: Make) -> None:
    box = make_sandbox(command=THIRD_TIME, restart="on-failure:2")
    main = box.main
    assert main is not None
    until(lambda: "it runs" in box.logs(), "it runs")
    with pytest.raises(TimeoutExpired):
        main.wait(0.01)

    main.send_signal(signal.SIGTERM)

    assert main.wait(30) == -signal.SIGTERM
    assert main.poll() == -signal.SIGTERM


@pytest.mark.parametrize("end", ["stop", "kill", "close"])
def test_an_end_that_was_asked_for_is_one_for_good(make_sandbox: Make, end: str) -> None:
    box = make_sandbox(command=shell("trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done"), restart="always")
    until(lambda: "up" in box.logs(), "it is up")

    getattr(box, end)()

    assert box.state == "exited"
    assert box.restarts == 0
    if end == "stop":
        assert until_end(box).death.exit_code == 9


@pytest.mark.parametrize("end", ["stop", "kill", "close"])
def test_it_ends_while_it_waits_to_be_started_again_too(make_sandbox: Make, end: str) -> None:
    box = make_sandbox(command=shell("exit 3"), restart="always")
    until(lambda: box.restarts == 6, "it waits for two thirds of a second")

    started = time.monotonic()
    getattr(box, end)()

    assert box.state == "exited"
    assert time.monotonic() - started < 0.5
    assert box.restarts == 6


def test_reset_begins_to_count_anew(make_sandbox: Make) -> None:
    box = make_sandbox(command=THIRD_TIME, restart="on-failure:2")
    until(lambda: "it runs" in box.logs(), "it runs")

    box.reset()
    until(lambda: "it runs" in box.logs(), "it runs again, with two failures of its own")

    assert box.restarts == 2


def test_a_restart_on_request_is_none_of_the_policy(make_sandbox: Make) -> None:
    box = make_sandbox(command=shell("echo up; exec sleep 999"), restart="on-failure:1")
    for count in (1, 2, 3):
        until(lambda: box.logs().count("up") == count, "it is up")  # noqa: B023  (called within this turn)
        box.restart()

    assert box.restarts == 0
    assert box.main is not None
    assert box.main.poll() is None


def test_a_restart_on_request_comes_in_place_of_one_that_was_due(make_sandbox: Make) -> None:
    box = make_sandbox(
        command=shell("echo x >> /tries; [ $(wc -l < /tries) = 7 ] || exit 1; echo up; exec sleep 999"), restart="always"
    )
    until(lambda: box.restarts == 5, "it waits for a third of a second")
    until(lambda: box.path("/tries").read_text() == "x\n" * 6, "and has failed")

    box.restart()
    until(lambda: "up" in box.logs(), "it is up")

    assert box.path("/tries").read_text() == "x\n" * 7
    assert box.restarts == 5


@needs("cgroup-freezer")
def test_what_falls_due_while_it_is_paused_is_done_when_it_goes_on(make_sandbox: Make) -> None:
    box = make_sandbox(command=shell("echo x; exit 1"), restart="always")
    until(lambda: box.restarts == 4, "it waits for a sixth of a second")

    box.pause()
    before = box.restarts
    with make_sandbox(command=shell("exit 1"), restart="always") as other:
        until(lambda: other.restarts == 6, "the time is over")
    assert box.restarts == before
    box.resume()

    until(lambda: box.restarts > before, "it was started again")
    assert box.run(["true"]).returncode == 0


@needs("cgroup-freezer")
def test_what_is_due_while_it_is_paused_is_no_more_once_it_is_to_end(make_sandbox: Make) -> None:
    box = make_sandbox(command=shell("exit 3"), restart="always")
    until(lambda: box.restarts == 5, "it was started for the sixth time")
    until(lambda: box._control.request("main")["status"] == 3, "it has ended, and waits for a third of a second")

    box.pause()
    with make_sandbox(command=shell("exit 1"), restart="always") as other:
        until(lambda: other.restarts == 6, "the time is over")
    box._control.service("let_end")

    assert until_end(box).death.exit_code == 3


def test_what_cannot_be_started_again_ends_the_sandbox(make_sandbox: Make, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "once").write_text("#!/bin/sh\nrm $0\n")
    (tmp_path / "once").chmod(0o755)

    box = make_sandbox(command=["/tools/once"], restart="always", mounts=[Bind(tmp_path, "/tools", "rw")])

    assert until_end(box).death.exit_code == 127


def test_a_policy_without_a_command_is_a_mistake(make_sandbox: Make) -> None:
    with pytest.raises(SpecError, match="nothing to start again"):
        make_sandbox(restart="always")


def test_crash_loops_leave_the_service_to_others(make_sandbox: Make) -> None:
    pid = make_sandbox()._control.connection.hello.pid
    looping = [make_sandbox(command=shell("exit 1"), restart="always") for _ in range(10)]
    until(lambda: all(box.restarts >= 6 for box in looping), "all wait most of the time")
    used, started = processor_seconds(pid), time.monotonic()

    until(lambda: all(box.restarts >= 8 for box in looping), "each was started twice more")

    assert processor_seconds(pid) - used < 0.3 * (time.monotonic() - started)


def test_many_end_and_are_restarted_at_once(make_sandbox: Make) -> None:
    boxes = [make_sandbox(command=shell("exec sleep 999"), restart="always") for _ in range(4)]

    def disturb(box: Sandbox) -> None:
        for turn in range(10):
            if turn % 3:
                box.restart()
            elif (main := box.main) is not None:
                main.send_signal(signal.SIGKILL)

    threads = [threading.Thread(target=disturb, args=(box,)) for box in boxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    for box in boxes:
        until(lambda: box.run(["pgrep", "-c", "sleep"]).stdout == "1\n", "it runs, once")  # noqa: B023  (called within this turn)


def until_end(box: Sandbox) -> SandboxDied:
    until(lambda: box.state == "exited", "it has ended")
    with pytest.raises(SandboxDied) as caught:
        box.run(["true"])
    return caught.value


def processor_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
