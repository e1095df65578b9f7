"""Servers, by their name and the address that they listen at: `echo 127.0.0.1 80`. Each says `up` when it does.

One process and one thread each, so that ten thousand connections are as good as one.
"""

from __future__ import annotations

import os
import select
import socket
import sys

BLOCK = 1 << 18


def echo(listener: socket.socket) -> None:
    """Sends back what comes, and ends where the client does."""
    _each(listener, lambda sock, data: sock.sendall(data))


def sink(listener: socket.socket) -> None:
    """Takes all there is, and answers with how many bytes that was when the client has ended."""
    counts: dict[int, int] = {}

    def more(sock: socket.socket, data: bytes) -> None:
        counts[sock.fileno()] = counts.get(sock.fileno(), 0) + len(data)

    _each(listener, more, lambda sock: sock.sendall(str(counts.pop(sock.fileno(), 0)).encode()))


def source(listener: socket.socket) -> None:
    """Sends as many bytes as the client says, in decimal and with a newline, and ends."""
    block = bytes(BLOCK)
    while True:
        sock, _ = listener.accept()
        count = int(sock.makefile("rb").readline())
        with sock:
            try:
                while count:
                    count -= sock.send(block[: min(count, BLOCK)])
            except OSError as error:
                print(error.strerror, flush=True)


def rude(listener: socket.socket) -> None:
    """Resets each connection once something has come."""
    while True:
        sock, _ = listener.accept()
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(8, sys.byteorder))
        sock.close()


def deaf(listener: socket.socket) -> None:
    """Ends at once, and tells on its standard output how much comes all the same."""
    while True:
        sock, _ = listener.accept()
        with sock:
            sock.shutdown(socket.SHUT_WR)
            print(len(sock.makefile("rb").read()), flush=True)


def witness(listener: socket.socket) -> None:
    """Tells on its standard output how each connection ends."""
    while True:
        sock, _ = listener.accept()
        with sock:
            print("accepted", flush=True)
            try:
                while sock.recv(BLOCK):
                    pass
                print("end", flush=True)
            except OSError as error:
                print(error.strerror, flush=True)


def datagrams(listener: socket.socket) -> None:
    """Sends datagrams back, each with the port that it came from."""
    while True:
        data, address = listener.recvfrom(65535)
        listener.sendto(b"%d " % address[1] + data if len(data) < BLOCK >> 4 else data, address)


def _each(listener: socket.socket, more, end=lambda sock: None) -> None:  # type: ignore[no-untyped-def]
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                sock, _ = listener.accept()
                clients[sock.fileno()] = sock
                if sock.family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                poll.register(sock.fileno(), select.EPOLLIN)
                continue
            try:
                data = clients[fd].recv(BLOCK)
                if data:
                    more(clients[fd], data)
                    continue
                end(clients[fd])
            except OSError:
                pass
            clients.pop(fd).close()


SERVERS = {each.__name__: each for each in (echo, sink, source, rude, deaf, witness, datagrams)}


def main(name: str, host: str, port: str = "0") -> None:
    if host.startswith("/"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(host)
    else:
        listener = socket.socket(
            socket.AF_INET6 if ":" in host else socket.AF_INET,
            socket.SOCK_DGRAM if name == "datagrams" else socket.SOCK_STREAM,
        )
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
    if name != "datagrams":
        listener.listen(4096)
    print("up" if int(port) or host.startswith("/") else listener.getsockname()[1], flush=True)
    SERVERS[name](listener)


if __name__ == "__main__":
    os.environ.clear()
    main(*sys.argv[1:])
