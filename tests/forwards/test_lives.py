"""What becomes of addresses, and of connections through them, when a sandbox stops, ends, or is replaced."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from events import until, wait_for_end
from needs import needs

from lxsandbox import Bind, Sandbox, SandboxDied
from lxsandbox.sandbox.connection import ServiceConnection

from .clients import dial, drain, read, says_back
from .conftest import SERVERS, Serve
from .processes import forwarder_of

pytestmark = needs("user-namespaces", "overlayfs")

Make = Callable[..., Sandbox]
COMMAND = ["/usr/bin/python3", "-I", "-S", "-c", SERVERS, "echo", "127.0.0.1", "80"]


def listens(box: Sandbox) -> bool:
    return "up" in box.logs()


def test_the_address_outlives_a_restart(make_sandbox: Make) -> None:
    box = make_sandbox(command=COMMAND)
    until(lambda: listens(box), "the server listens")
    address = box.address(80)
    with dial(address) as client:
        assert says_back(client)
        box.restart()
        until(lambda: box.logs().count("up") > 1, "it listens again")
        assert not read_to_the_end(client)

    assert box.address(80) == address
    with dial(address) as client:
        assert says_back(client)


@needs("cgroup-freezer")
def test_while_it_is_paused_connections_wait(make_sandbox: Make, serve: Serve) -> None:
    box = make_sandbox()
    serve(box, "echo", "127.0.0.1", "80")
    with dial(box.address(80)) as before:
        box.pause()
        address, other = box.address(80), box.address(81)  # both, also what nobody has asked for
        clients = [before, *(dial(address) for _ in range(50))]
        for client in clients:
            client.sendall(b"x")
        before.setblocking(False)
        with pytest.raises(BlockingIOError):
            before.recv(1)
        before.settimeout(10)
        box.resume()
        for client in clients:
            assert client.recv(1) == b"x"
            client.close()
    assert box.address(81) == other


def test_a_reset_breaks_off_connections_and_keeps_the_address(make_sandbox: Make, serve: Serve) -> None:
    box = make_sandbox(ports=[80])
    serve(box, "echo", "127.0.0.1", "80")
    address = box.address(80)
    with dial(address) as client:
        assert says_back(client)
        box.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)

    assert box.address(80) == address
    serve(box, "echo", "127.0.0.1", "80")
    with dial(address) as client:
        assert says_back(client)


def test_so_does_one_of_a_sandbox_that_must_end_first(make_sandbox: Make, tmp_path: Path) -> None:
    box = make_sandbox(mounts=[Bind(tmp_path, "/mnt", "rw")], command=COMMAND)
    address = box.address(80)
    box.reset()
    until(lambda: listens(box), "the server listens")

    assert box.address(80) == address
    with dial(address) as client:
        assert says_back(client)


@pytest.mark.parametrize("how", ["close", "kill", "main command", "init"])
def test_its_end_resets_connections_at_once_and_nothing_listens_any_more(make_sandbox: Make, serve: Serve, how: str) -> None:
    box = make_sandbox(command=["sleep", "1000"])
    serve(box, "source", "127.0.0.1", "80")
    address = box.address(80)
    clients = [dial(address) for _ in range(10)]
    for client in clients:
        client.sendall(b"%d\n" % (1 << 40))
    read(clients[0], 1 << 20)  # mid-transfer
    match how:
        case "close":
            box.close()
        case "kill":
            box.kill()
        case "main command":
            with suppress(SandboxDied):
                box.run(["pkill", "sleep"])
        case "init":
            os.kill(box.pid, signal.SIGKILL)

    for client in clients:
        with pytest.raises(ConnectionResetError):
            drain(client)
        client.close()
    if how in ("close", "kill"):
        with pytest.raises(ConnectionRefusedError):
            dial(address)
    else:
        until(lambda: refuses(address), "nothing listens")
    with pytest.raises(SandboxDied):
        box.address(80)


def runs_another(connection: ServiceConnection, killed: int) -> bool:
    try:
        return forwarder_of(connection) != killed
    except AssertionError:
        return False  # there is none


def test_a_forwarder_that_is_killed_is_replaced_and_addresses_stay(connection: ServiceConnection, serve: Serve) -> None:
    with Sandbox(connection=connection) as one, Sandbox(connection=connection) as other:
        serve(one, "echo", "127.0.0.1", "80")
        serve(other, "echo", "127.0.0.1", "80")
        addresses = [one.address(80), other.address(80)]
        with dial(addresses[0]) as client:
            assert says_back(client)
            killed = forwarder_of(connection)
            os.kill(killed, signal.SIGKILL)
            with pytest.raises(ConnectionResetError):
                client.recv(1)

        until(lambda: one.address(80) and runs_another(connection, killed), "the service has seen its end")
        assert [one.address(80), other.address(80)] == addresses
        for address in addresses:
            with dial(address) as client:
                assert says_back(client)


def test_one_that_dies_is_replaced_even_if_nobody_asks(connection: ServiceConnection, serve: Serve) -> None:
    with Sandbox(connection=connection) as box:
        serve(box, "echo", "127.0.0.1", "80")
        address = box.address(80)
        until(lambda: older_than_a_second(forwarder_of(connection)), "it is no newborn")
        killed = forwarder_of(connection)
        os.kill(killed, signal.SIGKILL)
        wait_for_end(killed)
        until(lambda: not refuses(address), "another listens")
        with dial(address) as client:
            assert says_back(client)


def test_the_end_of_the_service_is_the_end_of_the_forwarder(connection: ServiceConnection, serve: Serve) -> None:
    with Sandbox(connection=connection) as box:
        serve(box, "echo", "127.0.0.1", "80")
        address = box.address(80)
        with dial(address) as client:
            assert says_back(client)
            forwarder = forwarder_of(connection)
            os.kill(connection.hello.pid, signal.SIGKILL)
            wait_for_end(forwarder)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        assert refuses(address)


def test_a_sandbox_that_nobody_asks_for_an_address_starts_no_forwarder(connection: ServiceConnection) -> None:
    with Sandbox(connection=connection) as box:
        box.run(["true"])
        with pytest.raises(AssertionError):
            forwarder_of(connection)


def read_to_the_end(client: socket.socket) -> int:
    """Until the end of it, clean or not: what SIGKILL does to a process closes its sockets."""
    try:
        return drain(client)
    except ConnectionResetError:
        return 0


def refuses(address: tuple[str, int]) -> bool:
    try:
        dial(address).close()
    except OSError:
        return True
    return False


def older_than_a_second(pid: int) -> bool:
    started = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    now = float(Path("/proc/uptime").read_text().split()[0])
    return now - started / os.sysconf("SC_CLK_TCK") > 1.2
