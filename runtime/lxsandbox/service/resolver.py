"""Questions about names, passed on to the host's resolvers as they came: what is in them is the business of who asks.

The resolvers are those of /etc/resolv.conf, read again when it has changed, or else what LXSANDBOX_NAMESERVERS says, such as
`192.0.2.53,[2001:db8::1]:5353`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket

__all__ = ["Resolver"]

_FILE = "/etc/resolv.conf"
_VARIABLE = "LXSANDBOX_NAMESERVERS"
_PORT = 53
_TRIES = 2
_SECONDS = 2.0  # of one try at one of them
_SERVERS_AT_MOST = 3  # resolv.conf(5), MAXNS
_HEADER_BYTES = 12
_TRUNCATED = 0x02  # of the third byte
_SERVER_FAILURE, _REFUSED = 2, 5

Server = tuple[str, int]


class Resolver:
    """Asks one resolver after another until one answers."""

    def __init__(self) -> None:
        self._seen: tuple[int, int] | None = None
        self._servers: list[Server] = []

    async def ask(self, query: bytes) -> bytes | None:
        """The answer to a query (RFC 1035), with the query's number; None where no resolver gives one."""
        failed: bytes | None = None
        for server in self._current() * _TRIES:
            answer = await self._ask(server, query)
            if answer is None:
                continue
            if answer[3] & 0xF not in (_SERVER_FAILURE, _REFUSED):
                return answer
            failed = answer
        return failed

    def _current(self) -> list[Server]:
        given = os.environ.get(_VARIABLE)
        if given is not None:
            return [server for text in given.split(",") if (server := _server(text.strip())) is not None]
        try:
            status = os.stat(_FILE)
            if self._seen != (seen := (status.st_mtime_ns, status.st_ino)):
                self._seen, self._servers = seen, _read_servers()
        except OSError:
            self._servers = []
        return self._servers

    async def _ask(self, server: Server, query: bytes) -> bytes | None:
        # A number and a port of our own each time: a guess of both is what it takes to forge an answer (RFC 5452).
        ours = secrets.token_bytes(2) + query[2:]
        try:
            async with asyncio.timeout(_SECONDS):
                answer = await _by_udp(server, ours)
                if answer[2] & _TRUNCATED:
                    answer = await _by_tcp(server, ours)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return None
        return query[:2] + answer[2:] if answer[:2] == ours[:2] and len(answer) >= _HEADER_BYTES else None


async def _by_udp(server: Server, query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
        sock.connect(server)
        await loop.sock_sendall(sock, query)
        while True:
            answer = await loop.sock_recv(sock, 65535)
            if len(answer) >= _HEADER_BYTES and answer[:2] == query[:2]:
                return answer


async def _by_tcp(server: Server, query: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.close()


def _read_servers() -> list[Server]:
    with open(_FILE, encoding="utf-8", errors="replace") as file:
        words = [line.split() for line in file]
    servers = [(each[1], _PORT) for each in words if len(each) > 1 and each[0] == "nameserver"]
    return servers[:_SERVERS_AT_MOST] or [("127.0.0.1", _PORT)]  # as resolv.conf(5) has it where none is named


def _server(text: str) -> Server | None:
    """`ADDRESS` or `ADDRESS:PORT`, an IPv6 address with a port in brackets."""
    address, port = text, str(_PORT)
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":") or str(_PORT)
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    return (address, int(port)) if address and port.isdigit() else None
