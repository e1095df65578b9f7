"""`ready=` in the spec: what is handed over is ready, and what does not get there is not handed over."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from events import until
from needs import needs
from readiness.conftest import Make, python

from lxsandbox import File, Log, Port, Sandbox, SandboxDied, SandboxSpec
from lxsandbox.errors import SpecError
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs")

SERVER = python("import socket; s = socket.create_server(('', 5432)); print('ready', flush=True); s.accept(); input()")


def test_a_sandbox_is_handed_over_when_it_is_ready(make_sandbox: Make) -> None:
    box = make_sandbox(command=SERVER, ready=Port(5432) & Log("ready"))
    box.connect(5432).close()
    assert box.spec.ready == Port(5432) & Log("ready")


@pytest.mark.sandbox(command=SERVER, ready=Port(5432))
def test_the_marker_takes_a_condition(sandbox: Sandbox) -> None:
    sandbox.connect(5432).close()


def test_a_reset_and_a_fork_wait_again(make_sandbox: Make) -> None:
    box = make_sandbox(command=["sh", "-c", "sleep 0.1; touch /run/ready; exec sleep 1000"], ready=File("/run/ready"))
    box.reset()
    assert box.path("/run/ready").exists()
    with box.fork() as other:
        assert other.path("/run/ready").exists()


def test_a_restart_returns_when_the_main_command_has_been_started(make_sandbox: Make) -> None:
    box = make_sandbox(command=["sh", "-c", "echo ready; exec sleep 1000"], ready=Log("ready"))
    box.restart()
    box.wait_until(Log("ready", count=2))


def test_a_start_that_dies_fails_with_its_cause_and_leaves_nothing(make_sandbox: Make) -> None:
    with pytest.raises(SandboxDied, match="exited with code 5") as caught:
        make_sandbox(command=["sh", "-c", "echo no config; exit 5"], ready=Port(5432))
    assert caught.value.death.log_tail == "no config"


def test_a_start_that_can_never_be_ready_fails_at_once_and_leaves_nothing() -> None:
    connection = ServiceConnection.open()
    try:
        with pytest.raises(SpecError, match="no main command"):
            Sandbox(ready=Port(1) | Log("ready"), connection=connection)
        connection.request("settle")
        assert not _names(connection)
    finally:
        connection.leave()


def test_nobody_waits_for_a_sandbox_that_gets_ready_but_who_asked_for_it(alone: Make, apart: ThreadPoolExecutor) -> None:
    first = alone()
    connection = first._control.connection
    before = set(_names(connection))
    starting = apart.submit(alone, command=["sh", "-c", "sleep 1000; true"], ready=File("/run/go"))
    (name,) = until(lambda: set(_names(connection)) - before, "it has been started")
    spec = SandboxSpec(disk="77M").as_json()  # of a shape that there is none of: it has to be made in the background
    connection.request("prewarm", spec=spec, required=[], count=1, wait=True)
    assert not starting.done()

    attached = Sandbox.attach(name, connection=connection)
    attached.path("/run/go").write_text("")
    attached._control.channel.close()
    assert starting.result(timeout=30).id == name


def test_a_client_that_goes_while_its_sandbox_gets_ready_leaves_nothing(alone: Make) -> None:
    watching = alone()._control.connection
    before = set(_names(watching))
    other = ServiceConnection.open(watching.folder, start=False)
    with ThreadPoolExecutor() as apart:
        waiting = apart.submit(Sandbox, command=["sleep", "1000"], ready=Port(1), connection=other)
        until(lambda: set(_names(watching)) - before, "it has been started")
        other.channel.close()
        with pytest.raises(Exception, match="has gone"):
            waiting.result(timeout=30)
    until(lambda: set(_names(watching)) == before, "it has been removed")


def test_many_sandboxes_get_ready_at_once(make_sandbox: Make) -> None:
    command = ["sh", "-c", "sleep 0.2; touch /run/ready; echo ready; exec sleep 1000"]
    with ThreadPoolExecutor(40) as apart:
        starting = [apart.submit(make_sandbox, command=command, ready=File("/run/ready") & Log("ready")) for _ in range(40)]
    assert all(each.result().logs() == "ready\n" for each in starting)


def test_ready_is_no_part_of_the_shape(alone: Make) -> None:
    first = alone(command=SERVER)
    first._control.connection.request("prewarm", spec=first.spec.as_json(), required=[], count=1, wait=True)
    assert alone(command=SERVER, ready=Port(5432)).pooled


def test_an_update_keeps_the_condition(make_sandbox: Make) -> None:
    box = make_sandbox(command=SERVER, ready=Port(5432))
    box.update(cpus=0.5)
    box.reset()
    assert box.spec.ready == Port(5432)
    box.connect(5432).close()


def _names(connection: ServiceConnection) -> list[str]:
    assert os.path.isdir(f"/proc/{connection.hello.pid}")
    return [row["id"] for row in connection.request("list")["sandboxes"]]
