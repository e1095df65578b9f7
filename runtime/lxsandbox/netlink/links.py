"""Messages of route netlink about links, their addresses and routes; see rtnetlink(7).

Numbers are of include/uapi/linux/{rtnetlink,if_link,if_addr,if_bridge}.h and veth.h.
"""

import socket
import struct

from lxsandbox.netlink.attributes import attribute, children, nested, number, of_text
from lxsandbox.netlink.conversation import ACK, CREATE, EXCLUSIVE, Conversation, Request

__all__ = [
    "ADDRESS", "FORWARDING", "GROUP", "GROUP_OF_EVENTS", "MASTER", "MTU", "NETNS", "NO_GENERATED_ADDRESSES", "ONE_QUEUE",
    "bridge", "change_link", "delete_links", "index_of", "is_operating", "look_at_link", "name", "new_address",
    "new_link", "new_route", "operates", "veth",
]  # fmt: skip

_NEW_LINK, _DELETE_LINK, _GET_LINK, _NEW_ADDRESS, _NEW_ROUTE = 16, 17, 18, 20, 24  # RTM_*
GROUP_OF_EVENTS = 1  # RTMGRP_LINK
ADDRESS, _NAME, MTU, MASTER, _OPERSTATE, _LINK_INFO = 1, 3, 4, 10, 16, 18  # IFLA_*
_OF_FAMILIES, GROUP, NETNS, _TX_QUEUES, _RX_QUEUES = 26, 27, 28, 31, 32
_KIND, _OF_KIND, _PEER = 1, 2, 1  # IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER
_UP, _OPERATES = 0x1, 6  # IFF_UP, IF_OPER_UP
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _WITHOUT_DETECTION = 1, 2, 4, 0x02  # the last: IFA_F_NODAD
_TARGET, _OUT, _GATEWAY = 1, 4, 5  # RTA_*
_MAIN_TABLE, _STATIC, _LINK_SCOPE, _UNICAST = 254, 4, 253, 1

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_IFADDR = struct.Struct("=BBBBI")  # struct ifaddrmsg
_ROUTE = struct.Struct("=BBxxBBBBxxxx")  # struct rtmsg

# IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE, IFLA_BR_MCAST_SNOOPING
_BRIDGE_DATA = number(1, 0), number(5, 0), attribute(23, b"\0")
ONE_QUEUE = number(_TX_QUEUES, 1) + number(_RX_QUEUES, 1)  # else one a processor, for nothing
NO_GENERATED_ADDRESSES = nested(_OF_FAMILIES, nested(socket.AF_INET6, attribute(8, b"\1")))  # IN6_ADDR_GEN_MODE_NONE
FORWARDING = nested(_OF_FAMILIES, nested(socket.AF_INET, nested(1, number(1, 1))))  # IPV4_DEVCONF_FORWARDING


def _about_link(kind: int, flags: int, attributes: tuple[bytes, ...], index: int, up: bool | None) -> Request:
    head = _LINK.pack(socket.AF_UNSPEC, 0, index, _UP if up else 0, 0 if up is None else _UP)
    return kind, flags | ACK, head + b"".join(attributes)


def new_link(index: int, *attributes: bytes) -> Request:
    """A link of this index, which is up; one that is there already is an error."""
    return _about_link(_NEW_LINK, CREATE | EXCLUSIVE, attributes, index, True)


def change_link(index: int, *attributes: bytes, up: bool | None = None) -> Request:
    """`up` brings it up or down."""
    return _about_link(_NEW_LINK, 0, attributes, index, up)


def look_at_link(index: int, *attributes: bytes) -> Request:
    """The link of this index or, where that is 0, of the name that is given."""
    return _about_link(_GET_LINK, 0, attributes, index, None)


def delete_links(group: int) -> Request:
    """All of a group."""
    return _about_link(_DELETE_LINK, 0, (number(GROUP, group),), 0, None)


def name(of: str) -> bytes:
    return of_text(_NAME, of)


def bridge() -> bytes:
    """The link is a bridge, without delay, STP or multicast snooping."""
    return _of_kind("bridge", *_BRIDGE_DATA)


def veth(*attributes: bytes, index: int = 0) -> bytes:
    """The link is a veth; of its other end are the attributes, and the index that it shall have (0: any)."""
    there = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + b"".join(attributes)
    return _of_kind("veth", attribute(_PEER, there))


def _of_kind(kind: str, *data: bytes) -> bytes:
    return nested(_LINK_INFO, of_text(_KIND, kind), nested(_OF_KIND, *data))


def new_address(index: int, address: bytes, bits: int, *, broadcast: bytes = b"") -> Request:
    """Of the link `index`. In IPv6 it can be used at once: nobody is asked whether he has it."""
    ipv4 = len(address) == 4
    head = _IFADDR.pack(*((socket.AF_INET, bits, 0) if ipv4 else (socket.AF_INET6, bits, _WITHOUT_DETECTION)), 0, index)
    local = attribute(_IFA_LOCAL, address) if ipv4 else b""
    more = attribute(_IFA_BROADCAST, broadcast) if broadcast else b""
    return _NEW_ADDRESS, CREATE | EXCLUSIVE | ACK, head + local + attribute(_IFA_ADDRESS, address) + more


def new_route(family: int, index: int, *, to: bytes = b"", by: bytes = b"") -> Request:
    """To one address, or to all that have no other, out of the link `index`, to the neighbour `by` or on the link itself."""
    scope = 0 if by or family == socket.AF_INET6 else _LINK_SCOPE
    head = _ROUTE.pack(family, len(to) * 8, _MAIN_TABLE, _STATIC, scope, _UNICAST)
    target = attribute(_TARGET, to) if to else b""
    gateway = attribute(_GATEWAY, by) if by else b""
    return _NEW_ROUTE, CREATE | EXCLUSIVE | ACK, head + target + number(_OUT, index) + gateway


def index_of(kernel: Conversation, of: str) -> int:
    """Of the link of this name. Raises OSError."""
    (link,) = kernel.ask(look_at_link(0, name(of)))
    index: int = _LINK.unpack_from(link)[2]
    return index


def is_operating(link: bytes) -> bool:
    """Whether an answer about a link says that what is sent over it arrives."""
    return any(kind == _OPERSTATE and data[0] == _OPERATES for kind, data in children(link, _LINK.size))


def operates(kernel: Conversation, index: int) -> bool:
    """Whether what is sent over the link `index` arrives. Since Linux 6.7 to ask is enough to make it so."""
    return is_operating(kernel.ask(look_at_link(index))[0])
