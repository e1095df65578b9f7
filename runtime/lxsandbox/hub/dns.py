"""The wire form of domain names: a query read, an answer written. Pure.

RFC 1035 section 4 (messages), RFC 3596 (AAAA and ip6.arpa), RFC 6891 (EDNS), RFC 2308 and 8020 (no such name, or no such data).
What sends a query is hostile: whatever it is, `read` returns a query or None.
"""

import socket
import struct

__all__ = ["AAAA", "ANY", "FORMAT_ERROR", "NOT_IMPLEMENTED", "NO_ERROR", "NO_SUCH_NAME", "PTR", "REFUSED", "A"]
__all__ += ["Query", "address_of", "name_bytes", "read", "write"]

A, PTR, AAAA, OPT, ANY = 1, 12, 28, 41, 255
NO_ERROR, FORMAT_ERROR, NO_SUCH_NAME, NOT_IMPLEMENTED, REFUSED = 0, 1, 3, 4, 5
_BAD_VERSION = 16  # RFC 6891 6.1.3
_INTERNET = 1
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_RESPONSE, _AUTHORITATIVE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x0400, 0x0100, 0x0080
_OPCODE, _OPCODE_SHIFT = 0x7800, 11
_PLAIN_BYTES = 512  # of an answer without EDNS
_OUR_BYTES = 4096  # said in ours, and the most that is sent: loopback fragments nothing
_NAME_AT_QUESTION = b"\xc0\x0c"  # a pointer to the name behind the header
_LABEL_BYTES, _NAME_BYTES = 63, 255


class Query:
    """`name` is in lower case, without the dot at its end; `question` is the section as it came, to be sent back."""

    def __init__(self, number: int, flags: int, name: str, kind: int, question: bytes) -> None:
        self.number = number
        self.flags = flags
        self.name = name
        self.kind = kind
        self.question = question
        self.size = _PLAIN_BYTES
        self.edns = False
        self.error = NO_ERROR  # what there is to be answered whatever the name


def read(packet: bytes) -> Query | None:
    """The query in a packet; None for what is none, and gets no answer."""
    if len(packet) < _HEADER.size:
        return None
    number, flags, questions, answers, authorities, additional = _HEADER.unpack_from(packet)
    if flags & _RESPONSE or questions != 1:
        return None
    found = _read_name(packet, _HEADER.size)
    if found is None or found[1] + 4 > len(packet):
        return None
    name, end = found
    kind, of = struct.unpack_from("!HH", packet, end)
    query = Query(number, flags, name, kind, packet[_HEADER.size : end + 4])
    if (flags & _OPCODE) >> _OPCODE_SHIFT:
        query.error = NOT_IMPLEMENTED
    elif of not in (_INTERNET, ANY):
        query.error = REFUSED
    if answers == authorities == 0 and additional:
        _read_edns(query, packet, end + 4)
    return query


def _read_name(packet: bytes, offset: int) -> tuple[str, int] | None:
    """The name at `offset`, and where it ends. A question is the first name: nothing is there for it to point to."""
    labels: list[str] = []
    first = offset
    while offset < len(packet):
        length = packet[offset]
        offset += 1
        if length == 0:
            return ".".join(labels), offset
        if length > _LABEL_BYTES or offset + length > len(packet) or offset + length - first >= _NAME_BYTES:
            return None
        labels.append(packet[offset : offset + length].decode("latin-1").lower())
        offset += length
    return None


def _read_edns(query: Query, packet: bytes, offset: int) -> None:
    """The first additional record, where it is the OPT record that stubs send."""
    if offset + 1 + _RECORD.size > len(packet) or packet[offset]:
        return
    kind, size, extended, _ = _RECORD.unpack_from(packet, offset + 1)
    if kind == OPT:
        query.edns = True
        query.size = min(max(size, _PLAIN_BYTES), _OUR_BYTES)
        if extended >> 16 & 0xFF:
            query.error = _BAD_VERSION


def write(query: Query, error: int, records: "list[tuple[int, bytes]]") -> bytes:
    """The answer with these records (type and data) of the name that was asked for; those that have no room are left out.

    They last for 0 seconds: members come and go. Of several addresses any is as good, so that a cut answer is not marked as one.
    """
    edns = b"" if not query.edns else b"\0" + _RECORD.pack(OPT, _OUR_BYTES, error >> 4 << 24, 0)
    room = query.size - _HEADER.size - len(query.question) - len(edns)
    body, count = b"", 0
    for kind, data in records:
        record = _NAME_AT_QUESTION + _RECORD.pack(kind, _INTERNET, 0, len(data)) + data
        if len(body) + len(record) <= room:
            body += record
            count += 1
    flags = _RESPONSE | _AUTHORITATIVE | _RECURSION_AVAILABLE | query.flags & (_OPCODE | _RECURSION_DESIRED) | error & 0xF
    return _HEADER.pack(query.number, flags, 1, count, 0, bool(edns)) + query.question + body + edns


def name_bytes(name: str) -> bytes:
    """A name of the kind that sandboxes have, as a PTR record holds it."""
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"


def address_of(name: str) -> str | None:
    """The address that a name below in-addr.arpa or ip6.arpa stands for; None where it stands for none."""
    if name.endswith(".in-addr.arpa"):
        parts = name.removesuffix(".in-addr.arpa").split(".")
        numbers = [int(part) for part in reversed(parts) if part.isascii() and part.isdigit() and len(part) <= 3]
        if len(parts) == len(numbers) == 4 and max(numbers) <= 255:
            return ".".join(map(str, numbers))
    if name.endswith(".ip6.arpa"):
        digits = name.removesuffix(".ip6.arpa").split(".")
        if len(digits) == 32 and all(len(digit) == 1 and digit in "0123456789abcdef" for digit in digits):
            return socket.inet_ntop(socket.AF_INET6, bytes.fromhex("".join(reversed(digits))))
    return None
