"""Names of the members of a network: a server in each sandbox's own network, on the address that its resolv.conf has.

Who asks is known by the socket that the question came through, and is told of members of its own networks alone.
"""

import socket

from lxsandbox.hub import dns
from lxsandbox.hub.members import Member, Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lxsandbox.hub.serve import Hub

    Elsewhere = Callable[[Member, dns.Query, bytes, tuple[str, int]], bool]

__all__ = ["SERVER", "Names"]

SERVER = ("127.0.0.11", 53)
_PACKET_BYTES = 4096
_AT_ONCE = 16  # questions of one sandbox before the others have their turn


class Names:
    """Answers. `elsewhere` is asked about names that no member has, with the packet and who sent it: whether it will answer."""

    def __init__(self, hub: "Hub") -> None:
        self.elsewhere: Elsewhere | None = None
        self._hub = hub
        self._turn = 0

    def serve(self, member: Member) -> None:
        """Listen in the network namespace that this process is in now, which is the member's, with its loopback up.

        Raises OSError.
        """
        sock = member.dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        # A server of the sandbox's own on all addresses goes beside it, where it does so too.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(SERVER)
        self._hub.watch(sock.fileno(), lambda: self._read(member, sock))

    def end(self, member: Member) -> None:
        """Listen no more."""
        sock, member.dns = member.dns, None
        if sock is not None:
            self._hub.unwatch(sock.fileno())
            sock.close()

    def _read(self, member: Member, sock: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                packet, sender = sock.recvfrom(_PACKET_BYTES)
            except OSError:
                return  # no more, or a complaint about an answer that nobody waited for
            query = dns.read(packet)
            if query is None:
                continue
            answer = self.answer(member, query, packet, sender)
            if answer is not None:
                send(sock, answer, sender)

    def answer(self, member: Member, query: dns.Query, packet: bytes, sender: "tuple[str, int]") -> bytes | None:
        """What the member is told; None where somebody else tells it."""
        if query.error:
            return dns.write(query, query.error, [])
        records = self._reverse(member, query) if query.name.endswith(".arpa") else self._forward(member, query)
        if records is None:
            if self.elsewhere is not None and self.elsewhere(member, query, packet, sender):
                return None
            return dns.write(query, dns.NO_SUCH_NAME, [])
        return dns.write(query, dns.NO_ERROR, records)

    def _forward(self, member: Member, query: dns.Query) -> "list[tuple[int, bytes]] | None":
        """The addresses of a name, each time another one first; None where no member has it."""
        found = [port for port in _neighbours(member) if query.name in port.member.names]
        if not found:
            return None
        self._turn += 1
        start = self._turn % len(found)
        records: list[tuple[int, bytes]] = []
        for port in found[start:] + found[:start]:
            if query.kind in (dns.A, dns.ANY):
                records.append((dns.A, socket.inet_aton(port.ipv4)))
            if query.kind in (dns.AAAA, dns.ANY) and port.ipv6 is not None:
                records.append((dns.AAAA, socket.inet_pton(socket.AF_INET6, port.ipv6)))
        return records

    def _reverse(self, member: Member, query: dns.Query) -> "list[tuple[int, bytes]] | None":
        """The name of an address."""
        address = dns.address_of(query.name)
        for port in _neighbours(member):
            if address is not None and address in (port.ipv4, port.ipv6):
                return [(dns.PTR, dns.name_bytes(port.member.names[0]))] if query.kind in (dns.PTR, dns.ANY) else []
        return None


def _neighbours(member: Member) -> "Iterator[Port]":
    """All links of the member's networks, its own too."""
    for own in member.ports.values():
        yield from own.network.ports.values()


def send(sock: socket.socket, answer: bytes, receiver: "tuple[str, int]") -> None:
    """Send, unless there is no room: the sandbox does not read its answers, and asks again."""
    try:
        sock.sendto(answer, receiver)
    except OSError:
        pass
