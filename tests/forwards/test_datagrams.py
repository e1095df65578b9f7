"""UDP through an address."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from needs import needs

from lxsandbox import Sandbox

from .conftest import Serve

pytestmark = needs("user-namespaces", "overlayfs")

Dial = Callable[[tuple[str, int]], socket.socket]


@pytest.fixture
def dial() -> Iterator[Dial]:
    with ExitStack() as stack:

        def dial(address: tuple[str, int]) -> socket.socket:
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.settimeout(10)
            sock.connect(address)
            return sock

        yield dial


def exchange(client: socket.socket, data: bytes) -> tuple[int, bytes]:
    """What comes back, and the port that the server has seen it come from."""
    client.send(data)
    port, _, back = client.recv(70000).partition(b" ")
    return int(port), back


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_each_peer_gets_the_answers_to_its_own(sandbox: Sandbox, serve: Serve, dial: Dial, host: str) -> None:
    serve(sandbox, "datagrams", host, "53")
    clients = [dial(sandbox.address(53, "udp")) for _ in range(20)]

    ports = set()
    for turn in range(3):
        for number, client in enumerate(clients):
            port, back = exchange(client, b"%d of %d" % (turn, number))
            assert back == b"%d of %d" % (turn, number)
            ports.add(port)
    assert len(ports) == len(clients)


def test_a_datagram_is_one_however_large(sandbox: Sandbox, serve: Serve, dial: Dial) -> None:
    serve(sandbox, "datagrams", "127.0.0.1", "53")
    client = dial(sandbox.address(53, "udp"))

    for size in (0, 1, 1500, 65507):
        client.send(b"x" * size)
        back = client.recv(70000)
        assert back.endswith(b"x" * size)


def test_what_is_sent_before_anybody_listens_is_lost_and_what_comes_later_is_not(
    sandbox: Sandbox, serve: Serve, dial: Dial
) -> None:
    client = dial(sandbox.address(53, "udp"))
    for _ in range(5):
        client.send(b"lost")
    serve(sandbox, "datagrams", "127.0.0.1", "53")

    assert exchange(client, b"found")[1] == b"found"


def test_more_peers_than_are_kept_are_served_all_the_same(sandbox: Sandbox, serve: Serve, dial: Dial) -> None:
    serve(sandbox, "datagrams", "127.0.0.1", "53")
    address = sandbox.address(53, "udp")
    first = dial(address)
    port, _ = exchange(first, b"x")
    for _ in range(600):
        assert exchange(dial(address), b"x")[1] == b"x"

    again, _ = exchange(first, b"x")  # the one longest silent was forgotten, and is a new one
    assert again != port


def test_the_end_of_the_sandbox_is_no_trouble(sandbox: Sandbox, serve: Serve, dial: Dial) -> None:
    serve(sandbox, "datagrams", "127.0.0.1", "53")
    client = dial(sandbox.address(53, "udp"))
    exchange(client, b"x")
    sandbox.close()

    client.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        client.recv(1)
