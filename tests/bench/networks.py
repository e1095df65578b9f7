"""Networks between sandboxes: what joining one adds to a start, and what goes over the link, beside the host's loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

from lab import Lab
from table import Row, Section, row
from timing import Contestant, Figures, in_turn

from lxsandbox.sandbox.network import Network
from lxsandbox.sandbox.sandbox import Sandbox

__all__ = ["measure_networks"]

_LOOPBACK, _LINK = "loopback of the host", "sandbox to sandbox"
_ALONE, _JOINED = "alone", "in a network"
_MIB = 1024
_ASKED = 5000

# `serve` answers until it is killed: a megabyte count in eight bytes is answered by so much, one byte by one byte.
_PEER = """
import socket, sys, time
BLOCK = bytes(1 << 20)
def serve(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.create_server((host, 0), family=family)
    print(server.getsockname()[1], flush=True)
    while True:
        client, _ = server.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client:
            while asked := client.recv(8):
                if len(asked) == 1:
                    client.send(asked)
                else:
                    for _ in range(int.from_bytes(asked, "big")):
                        client.sendall(BLOCK)
def take(peer, count):
    peer.sendall(count.to_bytes(8, "big"))
    left, buffer = count << 20, bytearray(1 << 20)
    while left:
        left -= peer.recv_into(buffer)
def ask(peer, count):
    for _ in range(count):
        peer.send(b"x")
        peer.recv(1)
if sys.argv[1] == "serve":
    serve(sys.argv[2])
with socket.create_connection((sys.argv[2], int(sys.argv[3]))) as peer:
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    count = int(sys.argv[4])
    {"take": take, "ask": ask}[sys.argv[1]](peer, 1)
    started = time.perf_counter()
    {"take": take, "ask": ask}[sys.argv[1]](peer, count)
    print(time.perf_counter() - started)
"""
Client = Callable[[str, int], float]
"""Seconds that so many of `take` (megabytes) or `ask` (requests) took."""


def measure_networks(lab: Lab, rounds: int) -> list[Section]:
    """What a network costs."""
    return [_joining(lab, rounds), _talking(lab, max(5, rounds // 5))]


def _joining(lab: Lab, rounds: int) -> Section:
    with Network(connection=lab.connection) as network, Sandbox(connection=lab.connection, networks=[network]):
        made: list[Sandbox] = []

        @contextmanager
        def closed_after() -> Generator[None]:
            with lab.at_rest(networks=[network.name]):
                yield
                made.pop().close()

        def joined() -> Sandbox:
            return lab.usual(networks=[network.name])

        taken = in_turn(
            [
                Contestant(name=_ALONE, once=lambda: made.append(lab.usual()), around=closed_after),
                Contestant(name=_JOINED, once=lambda: made.append(joined()), around=closed_after),
            ],
            rounds,
        )
    added = Figures.of([taken[_JOINED].median - taken[_ALONE].median])
    rows = [row(taken, _ALONE), row(taken, _JOINED, peer=_ALONE), row({_ADDED: added}, _ADDED, median_at_most_ms=1.5)]
    return Section(title="Join a network", about=_ABOUT_JOINING, rows=rows)


def _talking(lab: Lab, rounds: int) -> Section:
    with ExitStack() as stack:
        contestants = {_LOOPBACK: _on_the_host(stack), _LINK: _in_sandboxes(lab, stack)}
        taken: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, client in contestants.items():
                taken.setdefault(f"{_MIB} MiB, {name}", []).append(client("take", _MIB) * 1000)
                taken.setdefault(f"a request, {name}", []).append(client("ask", _ASKED) * 1000 / _ASKED)
    figures = {name: Figures.of(each) for name, each in taken.items()}
    rows: list[Row] = []
    for what, at_most in ((f"{_MIB} MiB", 1 / 0.8), ("a request", 0.0)):
        peer = f"{what}, {_LOOPBACK}"
        rows += [row(figures, peer), row(figures, f"{what}, {_LINK}", peer=peer, ratio_at_most=at_most)]
    return Section(title="Sandbox to sandbox", about=_ABOUT_TALKING, rows=rows)


def _on_the_host(stack: ExitStack) -> Client:
    server = subprocess.Popen([sys.executable, "-c", _PEER, "serve", "127.0.0.1"], stdout=subprocess.PIPE, text=True)
    stack.enter_context(server)
    stack.callback(server.kill)
    assert server.stdout is not None
    port = server.stdout.readline().strip()

    def client(what: str, count: int) -> float:
        command = [sys.executable, "-c", _PEER, what, "127.0.0.1", port, str(count)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    return client


def _in_sandboxes(lab: Lab, stack: ExitStack) -> Client:
    network = stack.enter_context(Network(connection=lab.connection))
    one, two = (stack.enter_context(Sandbox(connection=lab.connection, networks=[network])) for _ in range(2))
    host = one.ip or ""
    assert socket.inet_aton(host)
    server = stack.enter_context(one.popen([sys.executable, "-c", _PEER, "serve", host]))
    stack.callback(server.kill)
    port = server.stdout.readline().strip()

    def client(what: str, count: int) -> float:
        return float(two.check_output([sys.executable, "-c", _PEER, what, host, port, str(count)]))

    return client


_ADDED = "added by the network"
_ABOUT_JOINING = f"""\
Set up alone, out of the pool, without a command. `{_JOINED}`: with a link to a network that has a member, IPv4 and IPv6 addresses
and a name server, all of it ready for the first packet. `{_ADDED}`: the difference of the medians."""
_ABOUT_TALKING = f"""\
TCP between two Python programs, which are the same in both lines: {_MIB} MiB one way in blocks of one MiB; and one byte there and
back, {_ASKED} times in a row, the time of one."""
