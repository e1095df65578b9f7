"""Names of the world outside: questions that no member's name answers, passed on where the sandbox has a way out.

The service asks the host's resolvers, since that is where the host's network is. Where a sandbox may reach only what is listed, a
name that is not is answered at once as unknown, and the addresses of one that is are let through before the answer is given.
"""

import struct

from lxsandbox.hub import dns
from lxsandbox.hub.members import Member
from lxsandbox.hub.names import send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxsandbox.hub.egress import Egress
    from lxsandbox.hub.serve import Hub

__all__ = ["Questions", "addresses_in"]

_AT_ONCE = 64  # of one sandbox; more are refused until one has its answer
_HEADER = struct.Struct(">HHHHHH")
_RECORD = struct.Struct(">HHIH")
_TRUNCATED = 0x0200
_ANSWERS_AT_MOST = 1000
_SERVER_FAILURE = 2


class Questions:
    """Those that have been passed on and have no answer yet."""

    def __init__(self, hub: "Hub", egress: "Egress") -> None:
        self._hub = hub
        self._egress = egress
        self._open: dict[int, tuple[Member, dns.Query, bytes, tuple[str, int]]] = {}
        self._next = 0

    def ask(self, member: Member, query: dns.Query, packet: bytes, sender: "tuple[str, int]") -> bool:
        """Whether the answer comes later: the name may be asked for, and so the service is."""
        found = self._egress.door_of(member)
        if found is None or (found[1].allowed is not None and not found[1].meant(query.name)):
            return False
        if sum(each[0] is member for each in self._open.values()) >= _AT_ONCE:
            _tell(member, dns.write(query, _SERVER_FAILURE, []), sender)
            return True
        self._next += 1
        self._open[self._next] = member, query, packet, sender
        self._hub.tell({"event": "resolve", "number": self._next, "query": packet.hex()})
        return True

    def resolved(self, request: "dict[str, Any]", _: list[int]) -> "dict[str, Any]":
        """The service's answer: what a resolver said, or nothing where none said anything."""
        asked = self._open.pop(request["number"], None)
        if asked is None:
            return {}
        member, query, packet, sender = asked
        answer = bytes.fromhex(request["answer"] or "")
        if len(answer) < _HEADER.size:
            _tell(member, dns.write(query, _SERVER_FAILURE, []), sender)
            return {}
        found = addresses_in(answer)
        way = self._egress.door_of(member)
        if way is not None and way[1].allowed is not None:
            doors, door = way
            doors.allow(door, found, door.meant(query.name))
        _tell(member, packet[:2] + _fitting(answer, query, found)[2:], sender)
        return {}

    def forget(self, box: str) -> None:
        """The sandbox leaves; nobody waits for its answers."""
        for number in [number for number, asked in self._open.items() if asked[0].box == box]:
            del self._open[number]


def _tell(member: Member, answer: bytes, receiver: "tuple[str, int]") -> None:
    if member.dns is not None:
        send(member.dns, answer, receiver)


def _fitting(answer: bytes, query: dns.Query, found: list[bytes]) -> bytes:
    """The answer, or so much of it as the one who asks takes: there is no TCP for the rest."""
    if len(answer) <= query.size:
        return answer
    kinds = {4: dns.A, 16: dns.AAAA}
    records = [(kinds[len(address)], address) for address in found if kinds[len(address)] == query.kind]
    if records:
        return dns.write(query, dns.NO_ERROR, records)
    number, flags, *_ = _HEADER.unpack_from(answer)
    return _HEADER.pack(number, flags | _TRUNCATED, 1, 0, 0, 0) + query.question


def addresses_in(answer: bytes) -> list[bytes]:
    """The IPv4 and IPv6 addresses that an answer gives; what cannot be read ends it."""
    _, _, questions, answers, _, _ = _HEADER.unpack_from(answer)
    offset = _HEADER.size
    found: list[bytes] = []
    for place in range(min(questions + answers, _ANSWERS_AT_MOST)):
        end = _behind_name(answer, offset)
        if end is None or end + 4 > len(answer):
            break
        offset = end
        if place < questions:
            offset += 4
            continue
        if offset + _RECORD.size > len(answer):
            break
        kind, _, _, length = _RECORD.unpack_from(answer, offset)
        offset += _RECORD.size
        data = answer[offset : offset + length]
        if (kind, len(data)) in ((dns.A, 4), (dns.AAAA, 16)):
            found.append(data)
        offset += length
    return found


def _behind_name(packet: bytes, offset: int) -> int | None:
    """Where the name at `offset` ends (RFC 1035, 4.1.4); None where it does not."""
    while offset < len(packet):
        length = packet[offset]
        if length >= 0xC0:
            return offset + 2
        offset += 1 + length
        if length == 0:
            return offset
    return None
