"""The way out: a link of its own from a sandbox to the hub, and from there to the outlet, a tap whose other end is a process.

That process (slirp4netns or pasta, `lxsandbox.service.outlet`) makes the tap in this network namespace, and sends what leaves
by it as its own, from the host's network. Without it there is no route, and the kernel says so to whoever sends.
"""

import errno
import os
import signal
import socket
import struct

from lxsandbox.hub.doors import Door, Doors
from lxsandbox.hub.links import MTU, remove_later, wait_operating
from lxsandbox.hub.members import Member, inside
from lxsandbox.hub.questions import Questions
from lxsandbox.hub.refusal import Refused
from lxsandbox.netlink import links as netlink
from lxsandbox.netlink.attributes import attribute, number
from lxsandbox.netlink.conversation import ROUTE, Conversation
from lxsandbox.netlink.links import change_link, new_address, new_link, new_route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lxsandbox.hub.serve import Hub

__all__ = ["INTERFACE", "OPERATIONS", "Egress"]

INTERFACE = "egress0"  # in a sandbox, beside the eth… of its networks
# The last two of the networks that `service.addresses` cuts 10.192.0.0/10 into: links to sandboxes, and the outlet.
_GATEWAY4 = socket.inet_aton("10.255.248.1")
_FIRST_MEMBER, _LAST_MEMBER = 2, 1022
_GATEWAY6 = socket.inet_pton(socket.AF_INET6, "fe80::1")
_PREFIX6 = socket.inet_pton(socket.AF_INET6, "fd6c:7873:ffff::")
_EVENT_BYTES = 1 << 16


class Exit:
    """The way out of one sandbox: its door, and the hub's end of its link."""

    def __init__(self, index: int, place: int, door: Door) -> None:
        self.index = index
        self.place = place
        self.door = door
        self.ipv4 = socket.inet_ntoa(_member4(place))
        self.ipv6: str | None = None


def _member4(place: int) -> bytes:
    return (int.from_bytes(_GATEWAY4, "big") - 1 + place).to_bytes(4, "big")


def _member6(place: int) -> bytes:
    return _PREFIX6[:14] + place.to_bytes(2, "big")


def _switch(name: str, value: bytes) -> None:
    """A sysctl of the network namespace that this process is in. Raises OSError."""
    fd = os.open(f"/proc/sys/net/ipv6/conf/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value)
    finally:
        os.close(fd)


class Egress:
    """What the hub knows of it. The rules are made with the first that asks, the outlet is the service's to start."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._doors: Doors | None = None
        self._exits: dict[str, Exit] = {}
        self._places = list(range(_LAST_MEMBER, _FIRST_MEMBER - 1, -1))
        self._awaited: dict[str, Any] | None = None
        self._events: socket.socket | None = None
        self._process = -1
        self._with_ipv6 = False
        self.questions = Questions(hub, self)

    def door_of(self, member: Member) -> "tuple[Doors, Door] | None":
        """Where the member has a way out: its door, and who can open it further."""
        found = self._exits.get(member.box)
        return (self._doors, found.door) if found is not None and self._doors is not None else None

    def has(self, box: str) -> bool:
        """Whether the sandbox has a way out."""
        return box in self._exits

    def await_outlet(self, request: "dict[str, Any]", fds: list[int]) -> "dict[str, Any]":
        """Tell the service (event `outlet`) when the outlet can be used; its process (a pidfd) is not to outlive the hub."""
        self.let_go()
        self._process = os.dup(fds[0])
        if self._doors is None:
            self._begin(request["tap"])
        self._awaited = request
        self._events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._events.bind((0, netlink.GROUP_OF_EVENTS))
        self._hub.watch(self._events.fileno(), self._look_for_outlet)
        self._look_for_outlet()
        return {}

    def _begin(self, tap: str) -> None:
        """What stays the same for all of them."""
        asked = self._hub.netlink
        loopback = netlink.index_of(asked, "lo")
        asked.ask(change_link(loopback, up=True), new_address(loopback, _GATEWAY4, 32))
        self._doors = Doors(tap)

    def _look_for_outlet(self) -> None:
        request, events = self._awaited, self._events
        if request is None or events is None:
            return
        try:
            while events.recv(_EVENT_BYTES):
                pass
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # more than could be kept: what counts is what there is now
                raise
        index = self._index_of(request["tap"])
        if index is not None:
            self._look_no_more()
            self._hub.tell({"event": "outlet", **self._connect(index, request)})

    def _index_of(self, name: str) -> int | None:
        try:
            return netlink.index_of(self._hub.netlink, name)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return None

    def _look_no_more(self) -> None:
        events, self._events, self._awaited = self._events, None, None
        if events is not None:
            self._hub.unwatch(events.fileno())
            events.close()

    def _connect(self, index: int, request: "dict[str, Any]") -> "dict[str, Any]":
        """Give the tap its addresses, and have all that leaves go there."""
        asked = self._hub.netlink
        address, gateway = socket.inet_aton(request["ipv4"]), socket.inet_aton(request["gateway4"])
        try:
            asked.ask(
                change_link(index, netlink.FORWARDING, number(netlink.MTU, MTU), up=True),
                new_address(index, address, 24),
            )
            asked.ask(new_route(socket.AF_INET, index, by=gateway))
        except OSError as error:
            return {"error": f"the outlet's link cannot be set up: {error.strerror}"}
        self._with_ipv6 = request["ipv6"] is not None and self._connect_ipv6(index, request)
        return {"ipv6": self._with_ipv6}

    def _connect_ipv6(self, index: int, request: "dict[str, Any]") -> bool:
        own, gateway = (socket.inet_pton(socket.AF_INET6, request[name]) for name in ("ipv6", "gateway6"))
        try:
            _switch(f"{request['tap']}/accept_ra", b"0")
            _switch(f"{request['tap']}/disable_ipv6", b"0")
            _switch("all/forwarding", b"1")
            self._hub.netlink.ask(new_address(index, own, 64))
            self._hub.netlink.ask(new_route(socket.AF_INET6, index, by=gateway))
        except OSError:
            return False  # no IPv6 in this kernel, or a /proc/sys that is read-only
        return True

    def open_door(self, request: "dict[str, Any]", _: list[int]) -> "dict[str, Any]":
        """A way out for a sandbox that the hub knows; `allowed` says where to, None is everywhere."""
        member = self._hub.members[request["box"]]
        if self._doors is None:
            raise Refused("SandboxError", "there is no outlet")
        if not self._places:
            raise Refused("SandboxError", f"{_LAST_MEMBER - 1} sandboxes have egress, and more cannot", hint="close some of them")
        index = self._hub.next_index()
        way = Exit(index, self._places.pop(), self._doors.open(index, request["allowed"]))
        self._exits[member.box] = way
        try:
            self._plug(member, way)
        except BaseException:
            self.close(member.box)
            raise
        return {"ipv4": way.ipv4, "ipv6": way.ipv6, "interface": INTERFACE}

    def _plug(self, member: Member, way: Exit) -> None:
        """The link, its ends where they belong from the first, with the addresses and routes of both."""
        mtu = number(netlink.MTU, MTU)
        there = netlink.veth(netlink.name(INTERFACE), attribute(netlink.NETNS, struct.pack("=i", member.netns)), mtu)
        asked = self._hub.netlink
        asked.ask(new_link(way.index, netlink.name(f"e{way.index}"), mtu, there))
        inner = inside(self._hub.home, member.netns, lambda: Conversation(ROUTE))
        try:
            there_index = netlink.index_of(inner, INTERFACE)
            inner.ask(
                change_link(there_index, up=True),
                new_address(there_index, _member4(way.place), 32),
                new_route(socket.AF_INET, there_index, to=_GATEWAY4),
                new_route(socket.AF_INET, there_index, by=_GATEWAY4),
            )
            asked.ask(change_link(way.index, netlink.FORWARDING))
            asked.ask(new_route(socket.AF_INET, way.index, to=_member4(way.place)))
            if self._with_ipv6 and self._plug_ipv6(inner, there_index, way):
                way.ipv6 = socket.inet_ntop(socket.AF_INET6, _member6(way.place))
            wait_operating(inner, there_index)
            wait_operating(asked, way.index)
        finally:
            inner.close()

    def _plug_ipv6(self, inner: Conversation, there_index: int, way: Exit) -> bool:
        try:
            _switch(f"e{way.index}/disable_ipv6", b"0")
            self._hub.netlink.ask(
                new_address(way.index, _GATEWAY6, 64),
                new_route(socket.AF_INET6, way.index, to=_member6(way.place)),
            )
            inner.ask(
                new_address(there_index, _member6(way.place), 128),
                new_route(socket.AF_INET6, there_index, by=_GATEWAY6),
            )
        except OSError:
            return False  # a sysctl of the sandbox has none
        return True

    def close(self, box: str) -> None:
        """The sandbox has no way out any more, if it had one."""
        way = self._exits.pop(box, None)
        if way is None or self._doors is None:
            return
        self._places.insert(0, way.place)  # what remembers this address shall forget it first
        self.questions.forget(box)
        self._doors.close(way.door)
        remove_later(self._hub, way.index)

    def let_go(self) -> None:
        """End the outlet: at the end of the hub, and before another."""
        self._look_no_more()
        process, self._process = self._process, -1
        if process >= 0:
            try:
                signal.pidfd_send_signal(process, signal.SIGKILL)
            except OSError:
                pass  # it has ended
            os.close(process)


OPERATIONS: "dict[str, Callable[[Hub, dict[str, Any], list[int]], dict[str, Any]]]" = {
    "await_outlet": lambda hub, request, fds: hub.egress.await_outlet(request, fds),
    "open_door": lambda hub, request, fds: hub.egress.open_door(request, fds),
    "resolved": lambda hub, request, fds: hub.egress.questions.resolved(request, fds),
}
