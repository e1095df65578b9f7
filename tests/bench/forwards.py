"""What a connection through an address costs, beside one of the host's own loopback to the same server."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab import Lab
from table import Section, row
from timing import Contestant, in_turn

from lxsandbox.sandbox.sandbox import Sandbox

__all__ = ["measure_forwards"]

Address = tuple[str, int]

_SERVERS = (Path(__file__).parents[1] / "forwards" / "servers.py").read_text()
_PYTHON = ["/usr/bin/python3", "-I", "-S", "-c", _SERVERS]
_EXCHANGES = 100
_BYTES = 256 << 20
_BLOCK = bytes(1 << 20)
_TRANSFERS_AT_MOST = 20
_ASKED = f"{_EXCHANGES} requests and answers"
_SENT = "256 MiB sent"
_OPENED = "connect, a byte there and back, close"


def measure_forwards(lab: Lab, rounds: int) -> Section:
    """Small requests, bulk, and new connections: over the host's loopback, and through an address."""
    with lab.usual() as box, ExitStack() as stack:
        host = {name: stack.enter_context(_host_server(name)) for name in ("echo", "sink")}
        inside = {name: stack.enter_context(_inside_server(box, name, port)) for name, port in (("echo", 80), ("sink", 81))}
        lab.rest()
        exchange = {where: stack.enter_context(_exchanges(servers["echo"])) for where, servers in _both(host, inside)}
        taken = in_turn([Contestant(name=f"{_ASKED}, {where}", once=once) for where, once in exchange.items()], rounds)
        sent = [Contestant(name=f"{_SENT}, {where}", once=_sender(servers["sink"])) for where, servers in _both(host, inside)]
        taken |= in_turn(sent, min(rounds, _TRANSFERS_AT_MOST), warm_up=1)
        opened = [Contestant(name=f"{_OPENED}, {where}", once=_opener(servers["echo"])) for where, servers in _both(host, inside)]
        taken |= in_turn(opened, rounds)
    rows = []
    for what, ratio in ((_ASKED, 2.0), (_SENT, 2.5), (_OPENED, 0.0)):
        rows += [row(taken, f"{what}, host"), row(taken, f"{what}, forwarded", peer=f"{what}, host", ratio_at_most=ratio)]
    return Section(
        title="A server reached at its address",
        about=(
            "100 bytes there and back, and 256 MiB one way, with one Python server: on the host over its loopback, and in a "
            "sandbox through `address()`. Throughput of at least 0.4 of the host's is a time of at most 2.5."
        ),
        rows=rows,
    )


def _both(host: dict[str, Address], inside: dict[str, Address]) -> list[tuple[str, dict[str, Address]]]:
    return [("host", host), ("forwarded", inside)]


@contextmanager
def _host_server(name: str) -> Iterator[Address]:
    process = subprocess.Popen([*_PYTHON, name, "127.0.0.1", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield "127.0.0.1", int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _inside_server(box: Sandbox, name: str, port: int) -> Iterator[Address]:
    process = box.popen([*_PYTHON, name, "127.0.0.1", str(port)])
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield box.address(port)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _exchanges(address: Address) -> Iterator[Callable[[], None]]:
    with socket.create_connection(address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = bytes(100)

        def exchange() -> None:
            for _ in range(_EXCHANGES):
                sock.send(asked)
                sock.recv(1000)

        yield exchange


def _sender(address: Address) -> Callable[[], None]:
    def send() -> None:
        with socket.create_connection(address) as sock:
            for _ in range(_BYTES // len(_BLOCK)):
                sock.sendall(_BLOCK)
            sock.shutdown(socket.SHUT_WR)
            if int(sock.recv(100)) != _BYTES:
                raise RuntimeError("not all of it has come")

    return send


def _opener(address: Address) -> Callable[[], None]:
    def once() -> None:
        with socket.create_connection(address) as sock:
            sock.send(b"x")
            sock.recv(1)

    return once
