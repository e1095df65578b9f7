"""What there is to reach: servers on the host's own address (not its loopback), a resolver, and who goes there from inside."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lxsandbox import Sandbox

__all__ = ["Resolver", "Server", "address_of_host", "attempt", "resolver", "serve"]

_ASK = """
import socket, sys, time
kind, host, port = sys.argv[1:]
start = time.monotonic()
try:
    found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)[0]
    with socket.socket(found[0], found[1]) as sock:
        sock.settimeout(20)
        sock.connect(found[4])
        sock.send(b"hello")
        print(sock.recv(100).decode())
except OSError as error:
    print(type(error).__name__, error)
print(time.monotonic() - start)
"""


def attempt(box: Sandbox, host: str, port: int, kind: str = "tcp") -> tuple[str, float]:
    """What a client inside gets from a server, or why nothing; and how many seconds that took."""
    said, seconds = box.check_output(["/usr/bin/python3", "-I", "-S", "-c", _ASK, kind, host, str(port)]).splitlines()
    return said, float(seconds)


def address_of_host(family: socket.AddressFamily = socket.AF_INET) -> str | None:
    """The address that this host has on the way to the world; None where there is no such way. Nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("198.51.100.1", 9) if family == socket.AF_INET else ("2001:db8::1", 9))
        except OSError:
            return None
        address: str = sock.getsockname()[0]
        return address


@dataclass
class Server:
    """Answers `HELLO` to whoever says hello; `asked` has who did, `sock` listens."""

    sock: socket.socket
    asked: list[str] = field(default_factory=list[str])

    @property
    def port(self) -> int:
        port: int = self.sock.getsockname()[1]
        return port

    def answer(self) -> bool:
        """Answer one; False when it has been closed."""
        try:
            if self.sock.type == socket.SOCK_DGRAM:
                said, sender = self.sock.recvfrom(100)
                if not sender:
                    return False  # it was shut down
                self.sock.sendto(said.upper(), sender)
            else:
                client, sender = self.sock.accept()
                with client:
                    client.sendall(client.recv(100).upper())
        except OSError:
            return False
        self.asked.append(sender[0])
        return True


@contextmanager
def _running(sock: socket.socket, answer: Callable[[], bool]) -> Iterator[None]:
    def run() -> None:
        while answer():
            pass

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        _wake(sock)
        thread.join()
        sock.close()


def _wake(sock: socket.socket) -> None:
    """Have whoever waits for it see that it is over."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # a datagram socket that is not connected complains, and wakes its reader all the same


@contextmanager
def serve(address: str, kind: str = "tcp") -> Iterator[Server]:
    """A server on this address, at a port that was free."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    sock.bind((address, 0))
    if kind == "tcp":
        sock.listen()
    server = Server(sock)
    with _running(sock, server.answer):
        yield server


@dataclass
class Resolver:
    """Knows `addresses` by name, and remembers what it was asked."""

    sock: socket.socket
    addresses: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    asked: list[str] = field(default_factory=list[str])

    @property
    def setting(self) -> str:
        """As LXSANDBOX_NAMESERVERS takes it."""
        host, port = self.sock.getsockname()
        return f"{host}:{port}"

    def answer(self) -> bool:
        try:
            query, sender = self.sock.recvfrom(4096)
        except OSError:
            return False
        if not sender:
            return False  # it was shut down
        self.sock.sendto(self._answer(query), sender)
        return True

    def _answer(self, query: bytes) -> bytes:
        end = query.index(b"\0", 12)
        labels, offset = [], 12
        while offset < end:
            labels.append(query[offset + 1 : offset + 1 + query[offset]].decode())
            offset += 1 + query[offset]
        name, (kind,) = ".".join(labels).lower(), struct.unpack_from(">H", query, end + 1)
        self.asked.append(name)
        found = self.addresses.get(name)
        records = [socket.inet_aton(each) for each in found or () if kind == 1]
        flags = 0x8180 if found is not None else 0x8183
        head = query[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0) + query[12 : end + 5]
        return head + b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + each for each in records)


@contextmanager
def resolver(**addresses: list[str]) -> Iterator[Resolver]:
    """One on the host's loopback, as systemd-resolved is. Names are given with `_` for each dot."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    made = Resolver(sock, {name.replace("_", "."): found for name, found in addresses.items()})
    with _running(sock, made.answer):
        yield made
