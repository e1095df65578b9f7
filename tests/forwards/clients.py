"""What clients do: connect, say something, read so much."""

from __future__ import annotations

import socket

__all__ = ["SECONDS", "dial", "drain", "read", "says_back"]

SECONDS = 10.0


def dial(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, SECONDS)


def read(client: socket.socket, count: int) -> bytes:
    """So many bytes: with a time-out, MSG_WAITALL waits for none."""
    data = b""
    while len(data) < count and (block := client.recv(count - len(data))):
        data += block
    return data


def drain(client: socket.socket) -> int:
    """How much comes until the end of it."""
    count = 0
    while block := client.recv(1 << 20):
        count += len(block)
    return count


def says_back(client: socket.socket) -> bool:
    """Whether an echo is at the other end."""
    client.sendall(b"hello")
    return read(client, 5) == b"hello"
