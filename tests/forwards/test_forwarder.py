"""The forwarder by itself: what it loads, and how it takes what an init, which runs where the user's code does, may answer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from events import has_ended, until

import lxsandbox
from lxsandbox import wire

from .clients import dial

SCRIPT = Path(lxsandbox.__file__).parent / "forwarder" / "__main__.py"
FOREIGN = {"asyncio", "dataclasses", "inspect", "subprocess", "threading", "typing", "logging", "ctypes"}
SHOW = "import sys; sys.path.insert(0, sys.argv[1]); import lxsandbox.forwarder.orders; print(*sys.modules)"


NONSENSE: list[dict[str, Any]] = [
    {"ok": {}},
    {"ok": []},
    {"error": 5},
    {"error": {"errno": "x"}},
    {"error": {"kind": "OSError", "errno": 24, "message": "Too many open files"}},
    {"id": 99, "ok": {}},
    {"id": [], "ok": {}},
    {"id": True},
    {"event": "exit"},
    {},
]


class Forwarder:
    """One that this test is the service of, and the init of its sandboxes."""

    def __init__(self) -> None:
        self.control, theirs = wire.pair()
        self.control.settimeout(10)
        with theirs:
            command = [sys.executable, "-I", "-S", str(SCRIPT), str(theirs.fileno()), "test"]
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    def ask(self, op: str, *fds: int, **fields: Any) -> dict[str, Any]:
        wire.send(self.control, {"id": 1, "op": op, **fields}, fds)
        received = wire.receive(self.control)
        assert received is not None
        return received[0]

    def sandbox(self, line: str = "one") -> socket.socket:
        """The init's end of the channel of a new sandbox."""
        ours, theirs = wire.pair()
        with theirs:
            assert "ok" in self.ask("sandbox", theirs.fileno(), line=line)
        ours.settimeout(10)
        return ours

    def listen(self, protocol: str = "tcp", **fields: Any) -> tuple[str, int]:
        """An address of a sandbox of the line "one", unless the fields say otherwise."""
        usual = {"line": "one", "port": 80, "path": "", "host_port": 0, "idle_seconds": 60.0}
        return "127.0.0.1", self.ask("listen", protocol=protocol, **{**usual, **fields})["ok"]["port"]

    def lives(self) -> bool:
        return "ok" in self.ask("end", line="nobody")


@pytest.fixture
def forwarder() -> Iterator[Forwarder]:
    made = Forwarder()
    yield made
    made.control.close()
    assert has_ended(made.process.pid, within=10)
    assert made.process.wait() == 0


def open_sockets(init: socket.socket) -> None:
    """Answer one request for sockets, as an init does."""
    received = wire.receive(init)
    assert received is not None
    request = received[0]
    assert request["op"] == "socket"
    opened = [socket.socket(request["family"], request["type"]) for _ in range(request["count"])]
    wire.send(init, {"id": request["id"], "ok": {}}, [each.fileno() for each in opened])
    for each in opened:
        each.close()


def test_it_loads_next_to_nothing() -> None:
    runtime = str(SCRIPT.parents[2])
    shown = subprocess.run([sys.executable, "-I", "-S", "-c", SHOW, runtime], capture_output=True, text=True, check=True)

    assert not FOREIGN & set(shown.stdout.split())
    assert not [name for name in shown.stdout.split() if name.startswith(("lxsandbox.service", "lxsandbox.sandbox"))]


def test_it_does_what_an_init_makes_possible(forwarder: Forwarder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, forwarder.sandbox() as init:
        address = forwarder.listen(port=server.getsockname()[1])
        open_sockets(init)
        with dial(address) as client, server.accept()[0] as inside:
            client.sendall(b"x")
            assert inside.recv(1) == b"x"


def test_nonsense_from_an_init_harms_its_own_connections_alone(forwarder: Forwarder, tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file, socket.socket(socket.AF_UNIX) as other, socket.socket() as right:
        for number, (answer, passed) in enumerate(product(NONSENSE, ([], [file], [other], [right], [file, right]))):
            line = f"line {number}"
            with forwarder.sandbox(line) as init:
                forwarder.listen(line=line)
                received = wire.receive(init)
                assert received is not None
                wire.send(init, {"id": received[0]["id"], **answer}, [each.fileno() for each in passed])
                assert forwarder.lives(), (answer, passed)
    with socket.create_server(("127.0.0.1", 0)) as server, forwarder.sandbox() as init:
        address = forwarder.listen(port=server.getsockname()[1])
        open_sockets(init)
        with dial(address), server.accept()[0]:
            assert forwarder.lives()


@pytest.mark.parametrize("path", ["", "/run/it.sock"])
def test_an_init_that_ends_ends_who_waits_for_it(forwarder: Forwarder, path: str) -> None:
    init = forwarder.sandbox()
    address = forwarder.listen(path=path)
    with ExitStack() as stack:
        clients = [stack.enter_context(dial(address)) for _ in range(100)]
        until(lambda: len(os.listdir(f"/proc/{forwarder.process.pid}/fd")) > 64, "as many as may wait are let in")
        init.close()
        for client in clients[:64]:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        assert "ok" in forwarder.ask("end", line="one")
        for client in clients[64:]:  # in the backlog, where another sandbox of this line would have found them
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_a_unix_socket_with_a_full_backlog_is_asked_again(forwarder: Forwarder) -> None:
    with forwarder.sandbox() as init:
        address = forwarder.listen(path="/run/it.sock")
        with dial(address) as client:
            for _ in range(3):
                received = wire.receive(init)
                assert received is not None
                wire.send(init, {"id": received[0]["id"], "error": {"errno": 11}})
            received = wire.receive(init)
            assert received is not None
            ours, theirs = socket.socketpair()
            with ours, theirs:
                wire.send(init, {"id": received[0]["id"], "ok": {}}, [theirs.fileno()])
                ours.settimeout(10)
                client.sendall(b"hello")
                assert ours.recv(5) == b"hello"
                ours.sendall(b"hello")
                assert client.recv(5) == b"hello"


def test_a_peer_that_is_silent_for_long_is_forgotten(forwarder: Forwarder) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, forwarder.sandbox() as init:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        address = forwarder.listen("udp", port=server.getsockname()[1], idle_seconds=0.2)
        open_sockets(init)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.connect(address)
            client.send(b"x")
            _, first = server.recvfrom(10)
            until(lambda: is_free(first), "nobody is there any more")
            client.send(b"y")
            assert server.recvfrom(10)[0] == b"y"  # as a new one


def is_free(address: tuple[str, int]) -> bool:
    """Whether nobody has it, told by having it for a moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(address)
        except OSError:
            return False
    return True


def test_what_has_ended_is_no_place_to_listen(forwarder: Forwarder) -> None:
    forwarder.sandbox().close()
    forwarder.ask("end", line="one")

    assert forwarder.ask("listen", line="one", protocol="tcp", port=1, path="", host_port=0)["error"]["errno"] == 2
