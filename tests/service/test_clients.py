"""Several clients of one service: who owns what, who keeps what alive, and what goes when one has gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from events import has_ended, line_from, until, wait_for_end
from needs import needs

from lxsandbox import Sandbox, SandboxDied
from lxsandbox.errors import SandboxError, ServiceLost
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs")

Connect = Callable[..., ServiceConnection]
NOTHING = {"processes": 0, "mounts": 0, "cgroups": 0, "links": 0}
CLIENT = """
import sys
from lxsandbox import Sandbox
from lxsandbox.sandbox.connection import ServiceConnection
box = Sandbox(name="its-own", connection=ServiceConnection.open(sys.argv[1], start=False))
process = box.popen(["sleep", "1000"])
print(box.pid, flush=True)
sys.stdin.read()
"""

IMPATIENT = """
import sys
from lxsandbox.sandbox.connection import ServiceConnection
from lxsandbox.spec import SandboxSpec
connection = ServiceConnection.open(sys.argv[1], start=False)
connection.request("prewarm", spec=SandboxSpec(disk="1M").as_json(), required=[], count=500, wait=True)
"""


def client(script: str, connection: ServiceConnection) -> subprocess.Popen[bytes]:
    """Another process that runs `script`, as a client of the same service."""
    environment = {**os.environ, "PYTHONPATH": ":".join(path for path in sys.path if path)}
    command = [sys.executable, "-c", script, connection.folder]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


def listed(connection: ServiceConnection) -> dict[str, str]:
    """The names of all sandboxes of the service, with their owners."""
    return {each["name"]: each["owner"] for each in connection.request("list")["sandboxes"]}


def test_the_service_tells_what_it_is(connection: ServiceConnection) -> None:
    assert connection.hello.run == os.path.basename(connection.folder)
    assert connection.hello.cgroups in ("v1", "hybrid", "v2", "none")
    assert connection.hello.mapping in ("range", "single")
    assert not has_ended(connection.hello.pid)


def test_another_client_can_attach_by_id_or_name_and_use_it(connection: ServiceConnection, connect: Connect) -> None:
    other = connect()
    with Sandbox(name="web", env={"COLOUR": "red"}, connection=connection) as box:
        box.path("/mine").write_text("x")
        for key in (box.id, "web"):
            attached = Sandbox.attach(key, connection=other)
            assert (attached.pid, attached.name, attached.hostname) == (box.pid, "web", "web")
            assert attached.check_output(["sh", "-c", "cat /mine; echo $COLOUR"]) == "xred\n"
            assert attached.spec.env == {"COLOUR": "red"}
            attached._control.channel.close()


def test_attaching_does_not_own(connection: ServiceConnection, connect: Connect) -> None:
    other = connect()
    with Sandbox(connection=connection) as box:
        attached = Sandbox.attach(box.id, connection=other)
        assert attached.run(["true"]).returncode == 0
        attached._control.channel.close()

        other.leave()

        assert box.run(["true"]).returncode == 0


def test_there_is_nothing_to_attach_to_where_there_is_none(connection: ServiceConnection) -> None:
    with pytest.raises(SandboxError, match="no sandbox 'nobody'"):
        Sandbox.attach("nobody", connection=connection)


def test_an_attached_client_is_told_of_its_death_too(connection: ServiceConnection, connect: Connect) -> None:
    other = connect()
    with Sandbox(connection=connection) as box:
        attached = Sandbox.attach(box.id, connection=other)
        box.kill()

        with pytest.raises(SandboxDied, match="killed"):
            attached.run(["true"])
        attached.close()


def test_a_client_that_leaves_takes_its_own_and_nobody_else_s(connection: ServiceConnection, connect: Connect) -> None:
    other = connect(label="other")
    with Sandbox(name="mine", connection=connection) as mine:
        theirs = Sandbox(name="theirs", connection=other)
        assert listed(connection) == {"mine": "first", "theirs": "other"}

        assert other.leave() == NOTHING

        wait_for_end(theirs.pid)
        theirs.close()
        assert listed(connection) == {"mine": "first"}
        assert mine.run(["true"]).returncode == 0


def test_a_client_that_dies_while_it_waits_for_the_pool_does_not_keep_the_service(connection: ServiceConnection) -> None:
    with client(IMPATIENT, connection) as impatient:
        until(lambda: "parked" in {each["state"] for each in connection.request("list")["stock"]}, "the pool is being filled")
        impatient.kill()

    assert connection.leave() == NOTHING

    wait_for_end(connection.hello.pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_client_that_dies_does_so_too(connection: ServiceConnection, number: signal.Signals) -> None:
    with Sandbox(name="mine", connection=connection) as mine:
        with client(CLIENT, connection) as dying:
            assert dying.stdout is not None
            init = int(line_from(dying.stdout))
            assert set(listed(connection)) == {"mine", "its-own"}
            dying.send_signal(number)

        wait_for_end(init)
        until(lambda: set(listed(connection)) == {"mine"}, "it has gone")
        assert mine.run(["true"]).returncode == 0
    assert connection.request("settle")["leaked"] == NOTHING


def test_the_last_client_ends_the_service_and_its_folder(connection: ServiceConnection, connect: Connect) -> None:
    other = connect()
    box = Sandbox(connection=connection)
    connection.leave()
    box.close()
    assert not has_ended(connection.hello.pid)

    assert other.leave() == NOTHING

    wait_for_end(connection.hello.pid)
    wait_for_end(box.pid)
    until(lambda: not os.path.exists(connection.folder), "the run folder is gone")


def test_an_observer_keeps_nothing_alive(connection: ServiceConnection, connect: Connect) -> None:
    observer = connect(observer=True)
    box = Sandbox(name="seen", connection=connection)
    assert set(listed(observer)) == {"seen"}

    assert connection.leave() == NOTHING

    box.close()
    wait_for_end(connection.hello.pid)
    with pytest.raises(ServiceLost):
        observer.request("list")


def test_an_observer_that_goes_ends_nothing(connection: ServiceConnection, connect: Connect) -> None:
    with Sandbox(connection=connection) as box:
        connect(observer=True).leave()

        assert box.run(["true"]).returncode == 0


def test_an_unknown_question_is_an_error_and_the_next_is_answered(connection: ServiceConnection) -> None:
    for op in ("nonsense", "_answer", "__init__", ""):
        with pytest.raises(SandboxError, match="knows no operation"):
            connection.request(op)

    assert listed(connection) == {}


@pytest.mark.parametrize("op", ["create", "close", "attach", "prewarm", "update"])
@pytest.mark.parametrize("fields", [{}, {"spec": 5, "sandbox": 5, "count": "many"}, {"spec": {"mounts": [5]}, "sandbox": []}])
def test_a_malformed_question_is_an_error_and_the_next_is_answered(
    connection: ServiceConnection, op: str, fields: dict[str, object]
) -> None:
    with pytest.raises(SandboxError):
        connection.request(op, **fields)

    assert listed(connection) == {}


def test_figures_are_those_of_the_client_that_asks(connection: ServiceConnection, connect: Connect) -> None:
    other = connect()
    for _ in range(3):
        Sandbox(connection=other).close()
    figures = other.request("figures")

    assert figures["sandboxes"] == len(figures["start_seconds"]) == 3
    assert all(0 < seconds < 30 for seconds in figures["start_seconds"])
    assert connection.request("figures")["sandboxes"] == 0


def test_what_was_closed_leaves_nothing(connection: ServiceConnection) -> None:
    boxes = [Sandbox(connection=connection) for _ in range(5)]
    for box in boxes:
        box.run(["sh", "-c", "sleep 1000 >/dev/null 2>&1 & (setsid sleep 1000 >/dev/null 2>&1 &)"], check=True)
        box.close()

    assert connection.request("settle")["leaked"] == NOTHING
    for box in boxes:
        wait_for_end(box.pid)
