"""Waits as such: parts side by side, and every way in which one ends. Nothing of it is left then."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from events import until
from needs import needs
from readiness.conftest import A_MOMENT, Holds, Make, listening

from lxsandbox import Command, File, Http, Log, Port, Sandbox, SandboxDied
from lxsandbox.errors import NotReady, ServiceLost, SpecError
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs")

NEVER = Port(1) & Http(2) & Log("never") & Command(["sleep", "1000"]) & File("/never") & File("/never", contains="x")
PRINTS = ["sh", "-c", "echo one; echo two; exec sleep 1000"]


def test_both_sides_of_an_and_have_to_come_true_each_once(make_sandbox: Make, apart: ThreadPoolExecutor) -> None:
    box = make_sandbox()
    waiting = apart.submit(box.wait_until, File("/first") & File("/second") & File("/third"))
    for name in ("/first", "/second", "/third"):
        box.path(name).write_text("")
        if name != "/third":
            box.wait_until(File(name) | File("/third"))
            with pytest.raises(NotReady, match=r"File\('/third'\): it is not there"):
                box.wait_until(File(name) & File("/third"), timeout=A_MOMENT)
            assert not waiting.done()
    waiting.result(timeout=30)


def test_one_side_of_an_or_will_do_and_the_rest_is_given_up(alone: Make, holds: Holds) -> None:
    box = alone(command=PRINTS)
    before = holds(box)
    box.wait_until(NEVER | Log("two"))
    box.wait_until((NEVER | Log("one")) & (Log("two") | NEVER))
    until(lambda: holds(box) == before, "all else has been given up")


def test_time_that_is_up_tells_what_was_waited_for_what_was_seen_and_the_log(alone: Make, holds: Holds) -> None:
    box = alone(command=PRINTS, name="web")
    box.wait_until(Log("two"))
    before = holds(box)
    condition = (Port(1) | Log("three")) & File("/never")
    with pytest.raises(NotReady) as caught:
        box.wait_until(condition, timeout=A_MOMENT)

    error = caught.value
    assert isinstance(error, TimeoutError)
    assert str(error) == (
        f"sandbox web was not ready within {A_MOMENT} s: waited for (Port(1) | Log('three')) & File('/never'), and saw last\n"
        "  Port(1): nothing listens on any port\n"
        "  Log('three'): no line matched, 2 were printed, the last is 'two'\n"
        "  File('/never'): it is not there"
    )
    assert error.__notes__ == ["last log lines:\none\ntwo"]
    assert (error.name, error.condition, error.seconds, error.log_tail) == ("web", repr(condition), A_MOMENT, "one\ntwo")
    with pytest.raises(NotReady):
        box.wait_until(NEVER, timeout=A_MOMENT)
    until(lambda: holds(box) == before, "nothing is left of the waits")


@pytest.mark.parametrize("timeout", [0, -1, True, "5", float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(make_sandbox: Make, timeout: Any) -> None:
    with pytest.raises(SpecError, match="timeout="):
        make_sandbox().wait_until(Port(1), timeout=timeout)


@pytest.mark.parametrize("condition", [Port, 5432, "ready", None, lambda: True])
def test_what_is_no_condition_is_refused(make_sandbox: Make, condition: Any) -> None:
    with pytest.raises(SpecError, match="condition="):
        make_sandbox().wait_until(condition)


def test_the_end_of_the_sandbox_ends_the_wait_with_its_cause_and_log(make_sandbox: Make) -> None:
    began = time.monotonic()
    with pytest.raises(SandboxDied) as caught:
        make_sandbox(command=["sh", "-c", "echo no config; exit 3"]).wait_until(NEVER, timeout=1000)

    assert caught.value.death.exit_code == 3
    assert caught.value.death.log_tail == "no config"
    assert time.monotonic() - began < 20


def waits(box: Sandbox, apart: ThreadPoolExecutor) -> Future[None]:
    """A wait that goes on: its command runs."""
    waiting = apart.submit(box.wait_until, Command(["sh", "-c", "touch /run/waited; sleep 1000"]) & NEVER, timeout=1000)
    until(lambda: box.path("/run/waited").exists(), "the wait has begun")
    return waiting


@pytest.mark.parametrize("way", ["close", "kill", "reset"])
def test_a_sandbox_that_is_taken_away_ends_the_wait(make_sandbox: Make, apart: ThreadPoolExecutor, way: str) -> None:
    box = make_sandbox(command=PRINTS)
    waiting = waits(box, apart)
    getattr(box, way)()
    with pytest.raises(SandboxDied):
        waiting.result(timeout=30)


def test_a_wait_outlasts_a_pause(make_sandbox: Make, apart: ThreadPoolExecutor) -> None:
    box = make_sandbox()
    waiting = apart.submit(box.wait_until, Port(5432) & Command(["true"]) & File("/run"))
    box.pause()
    with pytest.raises(NotReady, match="not looked at yet"):
        box.wait_until(Port(1) & Command(["touch", "/run/started"]), timeout=A_MOMENT)
    box.resume()
    with box.popen(listening(5432)) as server:
        waiting.result(timeout=30)
        server.kill()


def test_a_command_of_a_wait_that_ended_during_a_pause_is_killed(alone: Make, holds: Holds) -> None:
    box = alone()
    box.pause()  # from now on the service holds more of it
    box.resume()
    before = holds(box)
    box.pause()
    with pytest.raises(NotReady):
        box.wait_until(Command(["sleep", "1000"]), timeout=A_MOMENT)
    box.resume()
    until(lambda: holds(box) == before, "nothing runs")


def test_a_client_that_goes_takes_its_waits_along(alone: Make, apart: ThreadPoolExecutor, holds: Holds) -> None:
    box = alone(command=PRINTS)
    before = holds(box)
    other = ServiceConnection.open(box._control.connection.folder, start=False)
    attached = Sandbox.attach(box.id, connection=other)
    waiting = waits(attached, apart)

    attached._control.channel.close()
    other.channel.close()
    with pytest.raises(ServiceLost):
        waiting.result(timeout=30)
    until(lambda: holds(box) == before, "the service waits no more, and the command is killed")


def test_many_wait_at_once_for_one_sandbox_with_no_thread_and_no_process(alone: Make, holds: Holds) -> None:
    box = alone(command=["sh", "-c", "mkfifo /run/step; read x < /run/step; echo ready; exec sleep 1000"])
    box.wait_until(File("/run/step"))
    before = holds(box)
    connection = box._control.connection
    conditions = [Port(1) | Log("ready"), Log("ready"), File("/never") | Log("rea"), Http(2) | Log("y$")] * 25
    threads = [threading.Thread(target=box.wait_until, args=(condition,)) for condition in conditions]
    for thread in threads:
        thread.start()
    until(lambda: holds(box)[0] >= before[0] + 75, "all wait, each with its channel or listening to the log alone")
    threads_of_service = len(os.listdir(f"/proc/{connection.hello.pid}/task"))
    box.run(["sh", "-c", "echo > /run/step"], check=True)
    for thread in threads:
        thread.join(timeout=30)

    assert not any(thread.is_alive() for thread in threads)
    assert threads_of_service < 20
    until(lambda: holds(box) == before, "nothing is left of them")
