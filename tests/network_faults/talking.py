"""Processes in members that talk, told what to say line by line: so that a fault can come between two of them."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from events import line_from, until

from lxsandbox import Network, Process, Sandbox, SandboxDied
from lxsandbox.sandbox.connection import ServiceConnection
from lxsandbox.sandbox.faults import Fault

__all__ = ["Members", "Talk", "dropped", "echo_connection", "sends", "udp"]

_ECHO = """
import socket
server = socket.create_server(("", 7))
print("listens", flush=True)
while True:
    peer, _ = server.accept()
    with peer:
        while data := peer.recv(4096):
            peer.sendall(data)
"""
_CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], 7)) as peer:
    print("connected", flush=True)
    file = peer.makefile("r")
    for line in sys.stdin:
        peer.sendall(line.encode())
        print(file.readline().strip() or "ended", flush=True)
"""
# Answers `count` with how many datagrams have come; `send HOST COUNT` sends some.
_UDP = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 9))
sock.setblocking(False)
print("listens", flush=True)
come = 0
for line in sys.stdin:
    word, *more = line.split()
    if word == "send":
        for _ in range(int(more[1])):
            sock.sendto(b"x", (more[0], 9))
    try:
        while sock.recv(10):
            come += 1
    except BlockingIOError:
        print(come, flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Members:
    connection: ServiceConnection
    network: Network
    a: Sandbox
    b: Sandbox
    c: Sandbox


class Talk:
    """A process that answers each line with one."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        assert self._process.stdout is not None
        return line_from(self._process.stdout)

    def ask(self, line: str) -> str:
        self.say(line)
        return self.hear()

    @property
    def silent(self) -> bool:
        return not select.select([self._process.stdout], [], [], 0)[0]


@contextmanager
def _talking(box: Sandbox, program: str, *args: str) -> Iterator[Talk]:
    with box.popen(["python3", "-c", program, *args], stdin=subprocess.PIPE) as process:
        try:
            yield Talk(process)
        finally:
            with suppress(SandboxDied):
                process.kill()


@contextmanager
def echo_connection(client: Sandbox, server: Sandbox) -> Iterator[Talk]:
    """A TCP connection that gives back each line."""
    with _talking(server, _ECHO) as listening:
        assert listening.hear() == "listens"
        with _talking(client, _CLIENT, str(server.ip)) as talk:
            assert talk.hear() == "connected"
            yield talk


@contextmanager
def udp(*boxes: Sandbox) -> Iterator[list[Talk]]:
    """A socket for datagrams in each; each has heard of all others, so that no address has to be asked for any more."""
    if not boxes:
        yield []
        return
    first, *rest = boxes
    with _talking(first, _UDP) as talk, udp(*rest) as others:
        assert talk.hear() == "listens"
        for other, box in zip(others, rest, strict=True):
            assert sends(talk, box, other) == 1
            assert sends(other, first, talk) == 1
        yield [talk, *others]


def sends(sender: Talk, to: Sandbox, receiver: Talk, count: int = 1) -> int:
    """How many of `count` datagrams arrive: the first answer that has any, of what is there with a count of none."""
    before = int(receiver.ask("count"))
    sender.ask(f"send {to.ip} {count}")
    return until(lambda: int(receiver.ask("count")) - before, "a datagram arrives")


def dropped(fault: Fault, start: str | None, end: str | None) -> int:
    """Packets that a fault has dropped between two, None for any other."""
    return sum(link.dropped_packets for link in fault.links if (link.start, link.end) == (start, end))
