"""`fork()` makes another sandbox with the same files; `reset()` begins anew in the same place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, TimeoutExpired
from typing import Any

import pytest
from images_real.conftest import Shelf
from needs import needs

from lxsandbox import Bind, Sandbox, SandboxDied, SandboxError
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs", "busybox")

Start = Callable[..., Sandbox]
SERVER = ("sh", "-c", "echo begun; exec sleep 1000")


@pytest.fixture
def base(shelf: Shelf) -> str:
    return shelf.layout("a")


def sh(sandbox: Sandbox, script: str) -> str:
    return sandbox.check_output(["sh", "-ec", script])


def test_a_fork_has_the_files_and_goes_its_own_way(start: Start, base: str) -> None:
    first = start(base)
    sh(first, "echo common > /file")
    with first.fork() as second:
        sh(second, "echo second >> /file")
        sh(first, "echo first >> /file")

        assert sh(second, "cat /file") == "common\nsecond\n"
        assert sh(first, "cat /file") == "common\nfirst\n"


def test_a_fork_has_changed_nothing_yet(start: Start, base: str) -> None:
    first = start(base)
    sh(first, "echo x > /file; rm -r /text")
    with first.fork() as second:
        assert second.diff() == []


def test_a_fork_is_made_as_its_origin_was(start: Start, base: str, place: Path) -> None:
    (place / "shown").write_text("of the host")
    mounts = [Bind(place / "shown", "/shown")]
    first = start(base, env={"A": "1"}, mounts=mounts, memory="96M", command=SERVER, name="origin")
    with first.fork() as second:
        assert second.path("/shown").read_text() == "of the host"
        assert sh(second, "echo $A") == "1\n"
        assert second.spec.memory == first.spec.memory
        assert second.main is not None
        assert second.name == second.id != "origin"


def test_a_fork_has_the_limits_that_its_origin_has_now(start: Start, base: str) -> None:
    first = start(base, memory="96M")
    first.update(memory="80M")
    with first.fork() as second:
        assert second.spec.memory == 80 << 20


def test_a_fork_of_a_fork(start: Start, base: str) -> None:
    first = start(base)
    sh(first, "echo 1 > /one")
    with first.fork() as second:
        sh(second, "echo 2 > /two; rm /one")
        with second.fork() as third:
            assert sh(third, "ls -d /one /two 2>/dev/null || true") == "/two\n"


def test_a_fork_outside_pytest_keeps_the_service_as_any_other(store: Path, base: str) -> None:
    with Sandbox(base) as first:
        second = first.fork()
    with second:
        assert second.path("/text").read_text() == "a"


def test_reset_brings_back_what_was_there_at_the_start(start: Start, base: str) -> None:
    sandbox = start(base, env={"A": "1"})
    sh(sandbox, "echo x > /new; rm /text; chmod 700 /bin")

    sandbox.reset()

    assert sandbox.diff() == []
    assert sh(sandbox, "cat /text; echo $A") == "a1\n"


def test_after_reset_it_is_another_one_in_the_same_place(start: Start, base: str) -> None:
    sandbox = start(base, name="db")
    old = sandbox.id, sandbox.pid

    sandbox.reset()

    assert (sandbox.id, sandbox.pid) != old
    assert (sandbox.name, sandbox.hostname, sandbox.state) == ("db", "db", "running")
    assert sh(sandbox, "hostname") == "db\n"


def test_the_host_name_by_default_is_the_new_id(start: Start, base: str) -> None:
    sandbox = start(base)
    sandbox.reset()

    assert sh(sandbox, "hostname") == f"{sandbox.hostname}\n" == f"{sandbox.id}\n"


def test_a_command_of_before_has_died_with_the_cause(start: Start, base: str) -> None:
    sandbox = start(base)
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), DEVNULL)
    process = sandbox.popen(["sleep", "1000"], **streams)

    sandbox.reset()
    later = sandbox.popen(["sleep", "1000"], **streams)

    for ask in (process.poll, process.wait):
        with pytest.raises(SandboxDied, match="it was reset"):
            ask()
    with pytest.raises(TimeoutExpired):
        later.wait(0)


def test_a_path_of_before_is_one_of_the_new(start: Start, base: str) -> None:
    sandbox = start(base)
    path = sandbox.path("/text")
    path.write_text("written over")

    sandbox.reset()

    assert path.read_text() == "a"


def test_the_main_command_and_its_log_begin_anew(start: Start, base: str) -> None:
    sandbox = start(base, command=("sh", "-c", "cat /text; echo; echo changed > /text; exec sleep 1000"))
    sh(sandbox, "until grep -q changed /text; do :; done")

    sandbox.reset()
    sh(sandbox, "until grep -q changed /text; do :; done")

    assert sandbox.logs() == "a\n"


def test_a_paused_one_runs_after_reset(start: Start, base: str) -> None:
    sandbox = start(base)
    sandbox.pause()

    sandbox.reset()

    assert sandbox.state == "running"
    assert sh(sandbox, "cat /text") == "a"


def test_limits_that_were_changed_stay(start: Start, base: str) -> None:
    sandbox = start(base, pids=100)
    sandbox.update(pids=7)

    sandbox.reset()

    assert "fork" in sandbox.run(["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 9 & done"]).stderr


def test_where_the_new_one_does_not_start_the_old_one_goes_on(start: Start, base: str, place: Path) -> None:
    (place / "source").mkdir()
    sandbox = start(base, mounts=[Bind(place / "source", "/data", mode="ro")])
    sh(sandbox, "echo x > /new")
    (place / "source").rmdir()

    with pytest.raises(SandboxError):
        sandbox.reset()

    assert sh(sandbox, "cat /new") == "x\n"


def test_a_port_of_the_host_is_free_for_the_new_one(start: Start, base: str) -> None:
    server = ("sh", "-c", "exec nc -l -p 45871 >/dev/null")
    sandbox = start(base, network="host", command=server)
    listening = "until grep -q ':B32F .* 0A ' /proc/net/tcp /proc/net/tcp6; do :; done"
    sh(sandbox, listening)

    for _ in range(3):
        sandbox.reset()
        sh(sandbox, listening)

    assert sandbox.state == "running"


def test_another_hold_on_it_is_told_that_it_was_reset(start: Start, base: str, place: Path) -> None:
    connection = ServiceConnection.open()
    try:
        with Sandbox(base, connection=connection) as sandbox, Sandbox.attach(sandbox.id, connection=connection) as other:
            sandbox.reset()
            with pytest.raises(SandboxDied, match="it was reset"):
                other.run(["true"])
    finally:
        connection.leave()


def test_a_dead_sandbox_is_not_reset(start: Start, base: str) -> None:
    sandbox = start(base)
    sandbox.kill()

    with pytest.raises(SandboxDied, match="killed"):
        sandbox.reset()
