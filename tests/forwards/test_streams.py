"""Connections through an address: what goes through them, and how they end."""

from __future__ import annotations

import errno
import socket
import urllib.request
from collections.abc import Callable
from subprocess import DEVNULL, STDOUT

import pytest
from needs import needs

from lxsandbox import Sandbox

from .clients import SECONDS, dial, read
from .conftest import Serve

pytestmark = needs("user-namespaces", "overlayfs")

Make = Callable[..., Sandbox]
MIB = 1 << 20


def test_a_client_library_knows_nothing_of_sandboxes(sandbox: Sandbox) -> None:
    sandbox.path("/srv/page").write_text("hello")
    server = sandbox.popen(["python3", "-u", "-m", "http.server", "-d", "/srv", "8000"], stdin=DEVNULL, stderr=STDOUT)
    assert server.stdout is not None
    assert "Serving" in server.stdout.readline()

    with urllib.request.urlopen(f"{sandbox.url(8000)}/page", timeout=SECONDS) as answer:
        assert answer.read() == b"hello"
    assert sandbox.url(8000, "postgresql").startswith("postgresql://127.0.0.1:")
    server.stdout.close()


def test_the_address_of_a_port_is_always_the_same_and_its_own(sandbox: Sandbox) -> None:
    assert sandbox.address(80) == sandbox.address(80) != sandbox.address(81)
    assert sandbox.address(80, "udp") != sandbox.address(80)


def test_the_end_of_the_client_is_told_and_answers_still_come(sandbox: Sandbox, serve: Serve) -> None:
    serve(sandbox, "sink", "127.0.0.1", "80")

    with dial(sandbox.address(80)) as client:
        client.sendall(b"x" * 1000)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"1000"
        assert client.recv(100) == b""


def test_the_end_of_the_server_is_told_and_the_client_may_still_speak(sandbox: Sandbox, serve: Serve) -> None:
    server = serve(sandbox, "deaf", "127.0.0.1", "80")
    assert server.stdout is not None

    with dial(sandbox.address(80)) as client:
        assert client.recv(100) == b""
        client.sendall(b"x" * MIB)
    assert server.stdout.readline() == f"{MIB}\n"


def test_a_gigabyte_goes_through_whole(sandbox: Sandbox, serve: Serve) -> None:
    serve(sandbox, "sink", "127.0.0.1", "80")
    block = bytes(4 * MIB)

    with dial(sandbox.address(80)) as client:
        for _ in range(256):
            client.sendall(block)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"%d" % (256 * len(block))


def test_what_comes_back_is_what_was_sent_at_any_size(sandbox: Sandbox, serve: Serve) -> None:
    serve(sandbox, "echo", "127.0.0.1", "80")

    with dial(sandbox.address(80)) as client:
        for count in (1, 100, 16383, 16384, 16385, 65536, 300_000):
            data = bytes(number * count % 251 for number in range(count))
            client.sendall(data)
            assert read(client, count) == data


def test_who_does_not_read_holds_up_the_sender_and_nobody_else(sandbox: Sandbox, serve: Serve) -> None:
    serve(sandbox, "source", "127.0.0.1", "80")
    serve(sandbox, "echo", "127.0.0.1", "81")
    count = 64 * MIB

    with dial(sandbox.address(80)) as slow, dial(sandbox.address(81)) as quick:
        slow.sendall(b"%d\n" % count)
        for _ in range(100):
            quick.sendall(b"x")
            assert quick.recv(1) == b"x"
        while block := slow.recv(MIB):
            count -= len(block)
    assert count == 0


def test_a_reset_by_the_server_is_one_for_the_client(sandbox: Sandbox, serve: Serve) -> None:
    serve(sandbox, "rude", "127.0.0.1", "80")

    with dial(sandbox.address(80)) as client:
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_reset_by_the_client_is_one_for_the_server(sandbox: Sandbox, serve: Serve) -> None:
    server = serve(sandbox, "witness", "127.0.0.1", "80")
    assert server.stdout is not None

    with dial(sandbox.address(80)) as client:
        assert server.stdout.readline() == "accepted\n"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert server.stdout.readline() == "Connection reset by peer\n"


def test_a_client_that_goes_mid_transfer_ends_it_for_the_server(sandbox: Sandbox, serve: Serve) -> None:
    server = serve(sandbox, "source", "127.0.0.1", "80")
    assert server.stdout is not None

    with dial(sandbox.address(80)) as client:
        client.sendall(b"%d\n" % (1 << 40))
        read(client, MIB)
    assert server.stdout.readline() in ("Connection reset by peer\n", "Broken pipe\n")


def test_while_nothing_listens_connections_are_reset(sandbox: Sandbox, serve: Serve) -> None:
    address = sandbox.address(80)
    with pytest.raises(ConnectionResetError), dial(address) as client:
        client.recv(1)

    serve(sandbox, "echo", "127.0.0.1", "80")
    with dial(address) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"


@pytest.mark.parametrize("host", ["::1", "::", "0.0.0.0"])
def test_a_server_may_listen_at_any_address_of_its_own(sandbox: Sandbox, serve: Serve, host: str) -> None:
    serve(sandbox, "echo", host, "80")

    for _ in range(2):
        with dial(sandbox.address(80)) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"


def test_a_unix_socket_has_an_address_too(sandbox: Sandbox, serve: Serve) -> None:
    path = f"/srv/{'long-' * 14}/it.sock"  # longer below a root than a socket's name may be
    sandbox.path(path).parent.mkdir(parents=True)
    sandbox.path("/srv/link").symlink_to(path)
    serve(sandbox, "echo", path)

    for name in (path, "/srv/link"):
        with dial(sandbox.address(name)) as client, sandbox.connect(name) as straight:
            for each in (client, straight):
                each.sendall(b"x")
                assert each.recv(1) == b"x"
                each.shutdown(socket.SHUT_WR)
                assert each.recv(1) == b""


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("/etc/passwd", errno.ECONNREFUSED),
        ("/nothing", errno.ECONNREFUSED),
        ("/proc/self/fd/0", errno.ELOOP),
        ("/proc/1/root/srv", errno.ELOOP),
    ],
)
def test_what_is_no_unix_socket_takes_no_connection(sandbox: Sandbox, path: str, number: int) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number says more than its text
        sandbox.connect(path)
    assert (caught.value.errno or errno.ECONNREFUSED) == number
    with pytest.raises(ConnectionResetError), dial(sandbox.address(path)) as client:
        client.recv(1)


def test_with_the_hosts_network_the_address_is_the_port_itself(make_sandbox: Make) -> None:
    assert make_sandbox(network="host").address(4321) == ("127.0.0.1", 4321)


@pytest.mark.parametrize("kind", ["half-open", "idle"])
def test_clients_that_say_nothing_keep_nobody_else_waiting(sandbox: Sandbox, serve: Serve, kind: str) -> None:
    serve(sandbox, "echo", "127.0.0.1", "80")
    silent = [dial(sandbox.address(80)) for _ in range(100)]
    if kind == "half-open":
        for client in silent:
            client.shutdown(socket.SHUT_RD)

    with dial(sandbox.address(80)) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    for each in silent:
        each.close()


def test_nothing_is_lost_of_what_a_server_says_before_it_ends(sandbox: Sandbox, serve: Serve) -> None:
    serve(sandbox, "source", "127.0.0.1", "80")

    with dial(sandbox.address(80)) as client:
        client.sendall(b"%d\n" % (8 * MIB))
        received = 0
        while block := client.recv(MIB):
            received += len(block)
    assert received == 8 * MIB
