"""Junk, half messages, floods and silence on the sockets: who sends them is answered or dropped, and all others go on."""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from events import until
from faults.runs import Runs
from needs import needs

from lxsandbox import wire
from lxsandbox.errors import SandboxError, ServiceLost
from lxsandbox.sandbox.channel import Channel
from lxsandbox.sandbox.connection import Hello, ServiceConnection
from lxsandbox.sandbox.sandbox import Sandbox
from lxsandbox.service.run_folder import socket_path

REAL = needs("user-namespaces", "overlayfs", "libseccomp")
SERVICE_OPERATIONS = (
    "hello",
    "create",
    "attach",
    "close",
    "stats",
    "update",
    "pause",
    "resume",
    "kill",
    "death",
    "logs",
    "prewarm",
)
INIT_OPERATIONS = (
    *("go", "exec", "signal", "kill_tree", "signal_all", "socket", "channel"),
    *("open", "stat", "list", "mkdir", "unlink"),
)
ODD_VALUES: tuple[Any, ...] = (None, -1, 10**30, 1.5, "", "\0", [], {}, [[]], True)
PACKETS = {
    "no JSON": b"GET / HTTP/1.1\r\n\r\n",
    "half a message": b'{"id": 1, "op": "cre',
    "no object": b"[1, 2, 3]",
    "no text": b"\xff\xfe\xfd",
    "deeply nested": b"[" * 60_000,
    "a memory file that was not sent": b"\0",
    "too long": b" " * 100_000,
    "an id that cannot be one": b'{"id": {"a": []}, "op": []}',
    "no id and no operation": b"{}",
}


@pytest.fixture
def connection(runs: Runs) -> Iterator[ServiceConnection]:
    connection = ServiceConnection.open()
    yield connection
    connection.leave()


@pytest.fixture
def box(connection: ServiceConnection) -> Iterator[Sandbox]:
    with Sandbox(connection=connection) as sandbox:
        yield sandbox
        assert sandbox.check_output(["echo", "still here"]) == "still here\n"
        with Sandbox(connection=connection) as another:
            another.run(["true"], check=True)


@contextlib.contextmanager
def _peer(connection: ServiceConnection) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.connect(socket_path(connection.folder))
        peer.settimeout(30)  # not before: with a time limit connect(2) is EAGAIN where the backlog is full
        yield peer


def _answer(peer: socket.socket, message: dict[str, Any]) -> dict[str, Any] | None:
    """What comes back; None where the other side hangs up."""
    wire.send(peer, message)
    received = wire.receive(peer)
    if received is None:
        return None
    for fd in received[1]:
        os.close(fd)
    return received[0]


@REAL
@pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS.keys())
def test_what_is_no_message_is_answered_or_ends_that_connection_alone(
    connection: ServiceConnection, box: Sandbox, packet: bytes
) -> None:
    with _peer(connection) as peer:
        peer.send(packet)
        assert select.select([peer], [], [], 30)[0], "neither answered nor dropped"


@REAL
def test_descriptors_that_nobody_asked_for_are_closed(connection: ServiceConnection, box: Sandbox) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as end, _peer(connection) as peer, _peer(connection) as another:
        wire.send(peer, {"id": 1, "op": "list"}, [write] * 60)
        rights = array.array("i", [write] * 200)  # more than a message of ours may bring
        another.sendmsg([b'{"id": 1, "op": "list"}'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        os.close(write)
        assert end.read() == b""


@REAL
@pytest.mark.parametrize("operation", SERVICE_OPERATIONS)
def test_a_request_of_nonsense_is_an_error_and_no_silence(connection: ServiceConnection, box: Sandbox, operation: str) -> None:
    fields = ("spec", "required", "sandbox", "limits", "count", "visible")
    with _peer(connection) as peer:
        assert _answer(peer, {"id": 0, "op": operation}) is not None
        for value in ODD_VALUES:
            answer = _answer(peer, {"id": 1, "op": operation} | dict.fromkeys(fields, value))
            assert answer is not None
            assert operation == "hello" or "error" in answer


@REAL
@pytest.mark.parametrize("operation", INIT_OPERATIONS)
def test_nonsense_told_to_an_init_does_not_end_its_sandbox(connection: ServiceConnection, box: Sandbox, operation: str) -> None:
    fields = ("args", "env", "cwd", "user", "pid", "signal", "family", "type", "path", "flags", "mode", "follow", "pty")
    answer, channel = connection.request_channel("attach", sandbox=box.id)
    with contextlib.closing(channel):
        for given in ({}, *(dict.fromkeys(fields, value) for value in ODD_VALUES)):
            with contextlib.suppress(SandboxError, OSError):
                for fd in channel.call(operation, timeout=30, **given)[1]:
                    os.close(fd)
    assert answer["pid"] == box.pid


@REAL
@pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS.keys())
def test_junk_on_one_channel_of_an_init_leaves_the_others(connection: ServiceConnection, box: Sandbox, packet: bytes) -> None:
    wire.send(raw := _raw_channel(connection, box), {"id": 1, "op": "main"})
    raw.send(packet)
    assert select.select([raw], [], [], 30)[0]
    raw.close()


def _raw_channel(connection: ServiceConnection, box: Sandbox) -> socket.socket:
    _, fds = connection.channel.call("attach", sandbox=box.id)
    return socket.socket(fileno=fds[0])


@REAL
def test_who_floods_and_reads_no_answer_is_dropped(connection: ServiceConnection, box: Sandbox) -> None:
    with _peer(connection) as peer:
        peer.setblocking(False)
        until(lambda: _is_dropped(peer), "a flooder is dropped", seconds=60)


def _is_dropped(peer: socket.socket) -> bool:
    try:
        for _ in range(1000):
            peer.send(b'{"id": 1, "op": "list"}')
    except BlockingIOError:
        return False
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


@REAL
def test_connections_that_say_nothing_cost_nobody_anything(connection: ServiceConnection, box: Sandbox) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(300):
            opened.enter_context(_peer(connection))
        box.run(["true"], check=True)


@REAL
def test_who_asks_and_leaves_before_the_answer_gets_nothing_kept(connection: ServiceConnection, box: Sandbox, runs: Runs) -> None:
    for number in range(20):
        with _peer(connection) as peer:
            wire.send(peer, {"id": 1, "op": "create", "spec": box.spec.as_json() | {"name": f"gone-{number}"}, "required": []})
    until(lambda: _names(connection) == [box.name], "the sandboxes of who has left have ended")


def _names(connection: ServiceConnection) -> list[str]:
    return [row["name"] for row in connection.request("list")["sandboxes"]]


@pytest.mark.parametrize("reply", [b'{"id": 1, "ok": {"sandb', b"", b"\0", b"[]"])
def test_a_service_that_hangs_up_in_the_middle_of_an_answer_is_lost(reply: bytes, tmp_path: object) -> None:
    here, there = wire.pair()
    hello = Hello(run="run", cgroups="none", mapping="single", pid=1)
    connection = ServiceConnection(Channel(here), str(tmp_path), hello)
    with there:
        there.send(reply)
        with pytest.raises(ServiceLost, match="has gone"):
            connection.request("list")
    connection.channel.close()
