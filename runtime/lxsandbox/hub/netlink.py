"""Route netlink in plain bytes: messages are built here, sent many at once, and each is acknowledged.

See netlink(7) and rtnetlink(7); numbers are of include/uapi/linux/{netlink,rtnetlink,if_link,if_addr}.h.
"""

import os
import socket
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Netlink", "address_message", "attribute", "attributes_of", "link_message", "nested", "number", "peer", "text"]

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR = 16, 17, 18, 20
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
NLMSG_ERROR = 2
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_OPERSTATE, IFLA_LINKINFO = 1, 3, 4, 10, 16, 18
IFLA_AF_SPEC, IFLA_GROUP, IFLA_NET_NS_FD, IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 26, 27, 28, 31, 32
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE = 8, 1
VETH_INFO_PEER = 1
IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE, IFLA_BR_MCAST_SNOOPING = 1, 5, 23
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
IFA_F_NODAD = 0x02
IFF_UP = 0x1
IF_OPER_UP = 6

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg
_NESTED_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_BUFFER_BYTES = 1 << 16

Message = tuple[int, int, bytes]
"""Type, flags, and body."""


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(4 + len(data), kind) + data + bytes(-len(data) % 4)


def number(kind: int, value: int) -> bytes:
    """An attribute that holds 32 bits."""
    return attribute(kind, struct.pack("=I", value))


def text(kind: int, value: str) -> bytes:
    """An attribute that holds a string with its NUL."""
    return attribute(kind, value.encode() + b"\0")


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds others."""
    return attribute(kind, b"".join(attributes))


def link_message(kind: int, flags: int, *attributes: bytes, index: int = 0, up: bool | None = None) -> Message:
    """About the link `index` (of a new one: the index that it shall have); `up` brings it up or down."""
    header = _LINK.pack(socket.AF_UNSPEC, 0, index, IFF_UP if up else 0, 0 if up is None else IFF_UP)
    return kind, flags, header + b"".join(attributes)


def peer(*attributes: bytes, index: int = 0) -> bytes:
    """The other end of a new veth, with the index that it shall have (0: any), in the data of its kind."""
    return attribute(VETH_INFO_PEER, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + b"".join(attributes))


def address_message(family: int, prefix: int, flags: int, index: int, *attributes: bytes) -> Message:
    """A new address of the link `index`."""
    return RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, _ADDRESS.pack(family, prefix, flags, 0, index) + b"".join(attributes)


def attributes_of(data: bytes, offset: int = 0) -> "Iterator[tuple[int, bytes]]":
    """The attributes in `data` from `offset` on."""
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _NESTED_MASK, data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + (-length % 4)


def is_operating(link: bytes) -> bool:
    """Whether the body of an answer about a link says that what is sent over it arrives."""
    return any(kind == IFLA_OPERSTATE and data[0] == IF_OPER_UP for kind, data in attributes_of(link, _LINK.size))


class Netlink:
    """A socket of the network namespace that this process is in now; it stays with that one."""

    def __init__(self, protocol: int = 0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._sequence = 0

    def ask(self, *messages: Message) -> list[bytes]:
        """Send all messages, and wait until each is acknowledged; the bodies of what came beside.

        Raises the OSError of the first that failed, when all have been tried.
        """
        errors, bodies = self.attempt(*messages)
        for number in filter(None, errors):
            raise OSError(number, f"netlink: {os.strerror(number)}")
        return bodies

    def attempt(self, *messages: Message) -> tuple[list[int], list[bytes]]:
        """The same, with the errno of each message, 0 for those that were done."""
        first = self._sequence + 1
        self._sequence += len(messages)
        packet = b"".join(
            _HEADER.pack(_HEADER.size + len(body), kind, flags | NLM_F_REQUEST | NLM_F_ACK, first + place, 0) + body
            for place, (kind, flags, body) in enumerate(messages)
        )
        self._socket.send(packet)
        bodies: list[bytes] = []
        errors: dict[int, int] = {}
        while len(errors) < len(messages):
            for kind, sequence, body in self._receive():
                if sequence >= first and kind == NLMSG_ERROR:
                    errors[sequence] = -int.from_bytes(body[:4], sys.byteorder, signed=True)
                elif sequence >= first:
                    bodies.append(body)
        return [errors[first + place] for place in range(len(messages))], bodies

    def _receive(self) -> "Iterator[tuple[int, int, bytes]]":
        data = self._socket.recv(_BUFFER_BYTES)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
            yield kind, sequence, data[offset + _HEADER.size : offset + length]
            offset += length + (-length % 4)

    def operates(self, index: int) -> bool:
        """Whether what is sent over the link `index` arrives. Since Linux 6.7 to ask is enough to make it so."""
        return is_operating(self.ask(link_message(RTM_GETLINK, 0, index=index))[0])

    def close(self) -> None:
        self._socket.close()
