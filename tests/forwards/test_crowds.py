"""Many connections at once, and few descriptors."""

from __future__ import annotations

import os
import resource
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from events import until
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.sandbox.connection import ServiceConnection

from .clients import dial, says_back
from .conftest import Serve
from .processes import forwarder_of

pytestmark = needs("user-namespaces", "overlayfs")

CROWD = 10_000


@pytest.fixture
def many_descriptors() -> Iterator[int]:
    """As many as this process may have, up to what a crowd needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = min(hard, CROWD + 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, enough), hard))
    yield enough
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def flood(address: tuple[str, int], count: int) -> dict[str, int]:
    """So many clients at once, each with one byte to say; how many were answered, and how many failed by what."""
    poll = select.epoll()
    clients: dict[int, socket.socket] = {}
    ends: dict[str, int] = {"answered": 0}
    for _ in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(address)
        clients[sock.fileno()] = sock
        poll.register(sock.fileno(), select.EPOLLOUT | select.EPOLLONESHOT)
    while clients:
        for fd, _ in poll.poll(30) or pytest.fail(f"{len(clients)} clients wait for ever; the others: {ends}"):
            sock = clients[fd]
            try:
                if ends.get(f"sent {fd}") is None:
                    sock.send(b"x")
                    ends[f"sent {fd}"] = 1
                    poll.modify(fd, select.EPOLLIN | select.EPOLLONESHOT)
                    continue
                end = "answered" if sock.recv(1) == b"x" else "ended"
            except OSError as error:
                end = error.strerror or "?"
            ends[end] = ends.get(end, 0) + 1
            clients.pop(fd).close()
    poll.close()
    return {end: number for end, number in ends.items() if not end.startswith("sent")}


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_a_flood_of_ten_thousand_is_answered_and_leaves_nothing(
    connection: ServiceConnection, serve: Serve, many_descriptors: int
) -> None:
    count = min(CROWD, many_descriptors - 500)
    with Sandbox(connection=connection, rlimits={"nofile": min(20_000, many_descriptors)}) as box:
        serve(box, "echo", "127.0.0.1", "80")
        address = box.address(80)
        with dial(address) as client:
            assert says_back(client)
        forwarder = forwarder_of(connection)
        before = until(lambda: descriptors_of(forwarder), "it is there")

        ends = flood(address, count)

        assert ends == {"answered": count}
        until(lambda: descriptors_of(forwarder) <= before + 16, "what the crowd had is closed")
        with dial(address) as client:
            assert says_back(client)


def test_where_descriptors_are_few_the_others_wait_their_turn(connection: ServiceConnection, serve: Serve) -> None:
    with Sandbox(connection=connection) as box:
        serve(box, "echo", "127.0.0.1", "80")
        few_in_the_forwarder(connection, box)
        address = box.address(80)

        first = [dial(address) for _ in range(150)]  # more than it can have: these come to wait in the backlog
        for client in first:
            client.sendall(b"x")
        answered: list[socket.socket] = []
        waiting = first
        while ready := select.select(waiting, [], [], 0.3)[0]:
            answered += ready
            waiting = [client for client in waiting if client not in ready]
        assert answered
        assert waiting
        spent = processor_seconds_of(forwarder_of(connection))
        for client in answered:
            client.close()
        for client in waiting:
            assert client.recv(1) == b"x"
            client.close()
        assert processor_seconds_of(forwarder_of(connection)) - spent < 1.0


def few_in_the_forwarder(connection: ServiceConnection, box: Sandbox) -> None:
    """Leave the forwarder 256 descriptors: it looks how many it has when an address is made."""
    box.address(81)
    resource.prlimit(forwarder_of(connection), resource.RLIMIT_NOFILE, (256, 256))


def processor_seconds_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_forwarder_does_nothing(connection: ServiceConnection, serve: Serve) -> None:
    """Stalled, half-closed and broken connections and all."""
    with Sandbox(connection=connection) as box:
        serve(box, "source", "127.0.0.1", "80")
        serve(box, "echo", "127.0.0.1", "81")
        stalled, half, gone = dial(box.address(80)), dial(box.address(81)), dial(box.address(80))
        stalled.sendall(b"%d\n" % (1 << 40))
        gone.sendall(b"%d\n" % (1 << 40))
        half.shutdown(socket.SHUT_RD)
        forwarder = forwarder_of(connection)
        until(lambda: is_asleep(forwarder), "it has nothing to do")
        gone.close()
        until(lambda: is_asleep(forwarder), "it has nothing to do")

        spent = processor_seconds_of(forwarder)
        subprocess.run([sys.executable, "-c", "import select; select.select([], [], [], 0.5)"], check=True)
        assert processor_seconds_of(forwarder) - spent <= 0.05
        for client in (stalled, half):
            client.close()


def is_asleep(pid: int) -> bool:
    """In its poll, ten times in a row."""
    return all(Path(f"/proc/{pid}/wchan").read_text() in ("ep_poll", "do_epoll_wait") for _ in range(10))
