"""Bridges and the links to them: making, joining, leaving.

What leaves is taken off its bridge at once, in a quarter of a millisecond. To delete a link takes the kernel 20 ms, in which it
makes none (rtnl_lock): that is left to the end of the sandbox's namespace, and to a sweep when nothing else is to be done.
"""

import errno
import os
import select
import socket
import struct

from lxsandbox.hub import parameters
from lxsandbox.hub.members import Member, Network, Port, inside
from lxsandbox.hub.refusal import Refused
from lxsandbox.netlink import links as netlink
from lxsandbox.netlink.attributes import attribute, number
from lxsandbox.netlink.conversation import ROUTE, Conversation, Request
from lxsandbox.netlink.links import change_link, look_at_link, new_address, new_link, operates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxsandbox.hub.serve import Hub

__all__ = ["MTU", "OPERATIONS", "bridge_message", "remove_later", "sweep", "veth_message", "wait_operating"]

MTU = 65520  # of loopback is 65536; an IP packet has 65535 bytes at most, and the link's header is beside it
_GROUP_LEFT = 0x6C7873  # ip-link(8): links of one group are deleted together
_UP_SECONDS = 1.0
_IPV4_PREFIX = 22
# What a kernel without IPv6 says, or one that a sysctl of the sandbox forbids it.
_NO_IPV6 = frozenset({errno.EACCES, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.ENODEV, errno.EINVAL})
_LOOPBACK = 1  # the index that it has in every network namespace


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _link_local(mac: bytes) -> bytes:
    """The address that every IPv6 link has, made of its MAC (RFC 4291, appendix A)."""
    return b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]


def bridge_message(name: str, index: int, mac: str) -> Request:
    """For a new bridge that is up, and forwards from the first packet on."""
    # An address that is set stays; else the bridge's is the lowest of its ports', and changes with them.
    address = attribute(netlink.ADDRESS, _mac(mac))
    return new_link(index, netlink.name(name), address, netlink.bridge())


def veth_message(name: str, index: int, *, bridge: int, interface: str, inside: int, netns: int, mac: str) -> Request:
    """For a new veth, both ends where they belong from the first: to move one later takes the kernel 40 ms.

    `name` and `index` are of the end that is plugged into `bridge`, which is up; the other is in `netns`, and is down;
    `interface` and `inside` are its name and index.
    """
    there = netlink.veth(
        netlink.name(interface),
        attribute(netlink.NETNS, struct.pack("=i", netns)),
        attribute(netlink.ADDRESS, _mac(mac)),
        number(netlink.MTU, MTU),
        netlink.ONE_QUEUE,
        index=inside,
    )
    here = netlink.name(name), number(netlink.MTU, MTU), number(netlink.MASTER, bridge), netlink.ONE_QUEUE
    return new_link(index, *here, there)


def make_network(hub: "Hub", request: "dict[str, Any]", _: list[int]) -> "dict[str, Any]":
    """A bridge of its own for the network `number`."""
    index = hub.next_index()
    network = Network(request["number"], request["name"], f"b{index}", index, request["ipv4"], request["ipv6"])
    _ask_for_kind(hub.netlink, bridge_message(network.bridge, index, request["mac"]), "bridge")
    hub.networks[network.number] = network
    return {"bridge": network.bridge, "index": index}


def _ask_for_kind(asked: Conversation, message: Request, kind: str) -> None:
    try:
        asked.ask(message)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        hint = f"run `modprobe {kind}`, or boot a kernel that has it"
        raise Refused("HostUnsupported", f"this kernel has no {kind} links", hint=hint, capability=kind) from None


def remove_network(hub: "Hub", request: "dict[str, Any]", _: list[int]) -> "dict[str, Any]":
    """The network ends; members that are left lose the link at once."""
    network = hub.networks.pop(request["number"])
    for ended in hub.on_ended:
        ended(network)
    ports = list(network.ports.values())
    for port in ports:
        _part(hub, port)
        if not port.member.ports and not hub.egress.has(port.member.box):
            hub.forget(port.member)
    hub.netlink.ask(change_link(network.index, number(netlink.GROUP, _GROUP_LEFT), up=False))
    if ports:
        sweep(hub)
    else:
        hub.sweep_later()
    return {}


def join(hub: "Hub", request: "dict[str, Any]", fds: list[int]) -> "dict[str, Any]":
    """The sandbox `box`, whose network namespace comes along, is plugged into networks and has its names there."""
    member = Member(request["box"], os.dup(fds[0]), request["names"])
    try:
        for given in request["ports"]:
            _plug(hub, member, given)
        asked = inside(hub.home, member.netns, lambda: _open_inside(hub, member))
        try:
            for port in member.ports.values():
                _bring_up(asked, port)
        finally:
            asked.close()
        for port in member.ports.values():
            wait_operating(hub.netlink, port.index)
    except BaseException:
        for port in list(member.ports.values()):
            _part(hub, port)
        hub.forget(member)
        raise
    hub.members[member.box] = member
    return {"ports": [{"network": port.network.number, "ipv6": port.ipv6} for port in member.ports.values()]}


def _plug(hub: "Hub", member: Member, given: "dict[str, Any]") -> None:
    network = hub.networks.get(given["network"])
    if network is None:
        raise Refused("SandboxError", "a network was closed while it was joined", hint="close it when its sandboxes have gone")
    # Far from the indexes of a sandbox: between ends of one index, linkwatch takes its time, up to a second.
    port = Port(member, network, hub.next_index(), given)
    message = veth_message(
        port.name,
        port.index,
        bridge=network.index,
        interface=port.interface,
        inside=port.inside,
        netns=member.netns,
        mac=port.mac,
    )
    _ask_for_kind(hub.netlink, message, "veth")
    member.ports[network.number] = network.ports[member.box] = port


def _open_inside(hub: "Hub", member: Member) -> Conversation:
    """In the sandbox's network: what is needed there."""
    parameters.refuse_advertisements()
    parameters.allow_echo()
    asked = Conversation(ROUTE)
    try:
        # Init does so too, perhaps a little later: until then a name server that is bound there answers from another address.
        asked.ask(change_link(_LOOPBACK, up=True))
        hub.names.serve(member)
    except BaseException:
        asked.close()
        raise
    return asked


def _bring_up(asked: Conversation, port: Port) -> None:
    """Give a sandbox's end of a link its addresses, usable at once, and bring it up."""
    index, ipv4 = port.inside, socket.inet_aton(port.ipv4)
    broadcast = ipv4[:2] + bytes([ipv4[2] | 3, 255])
    over_ipv6 = _ipv6_messages(port)
    errors, bodies = asked.attempt(
        *over_ipv6,
        new_address(index, ipv4, _IPV4_PREFIX, broadcast=broadcast),
        change_link(index, up=True),
        look_at_link(index),
    )
    without_ipv6 = [each for each in errors[: len(over_ipv6)] if each]
    if without_ipv6 and set(without_ipv6) <= _NO_IPV6:
        port.ipv6 = None
        errors = errors[len(over_ipv6) :]
    for failed in filter(None, errors):
        raise OSError(failed, f"the link of a sandbox cannot be brought up: {os.strerror(failed)}")
    if not netlink.is_operating(bodies[-1]):
        wait_operating(asked, index)


def _ipv6_messages(port: Port) -> list[Request]:
    """For the addresses in IPv6, which are not looked for on the link first; none is made up beside."""
    assert port.ipv6 is not None
    addresses = socket.inet_pton(socket.AF_INET6, port.ipv6), _link_local(_mac(port.mac))
    return [
        change_link(port.inside, netlink.NO_GENERATED_ADDRESSES),
        *(new_address(port.inside, address, 64) for address in addresses),
    ]


def wait_operating(asked: Conversation, index: int) -> None:
    """Until the first packet would arrive. The kernel's linkwatch says so a little later than it brings the link up."""
    if operates(asked, index):
        return
    poll, tries = select.poll(), 0
    while not operates(asked, index):
        if tries >= _UP_SECONDS * 1000:
            raise OSError(errno.ENETDOWN, "a new link does not come up")
        poll.poll(1)  # nothing tells of it in a namespace that is not this process's own
        tries += 1


def leave(hub: "Hub", request: "dict[str, Any]", _: list[int]) -> "dict[str, Any]":
    """The sandbox is no member of anything any more."""
    member = hub.members.get(request["box"])
    if member is not None:
        for port in list(member.ports.values()):
            _part(hub, port)
        hub.forget(member)
        hub.sweep_later()
    return {}


def _part(hub: "Hub", port: Port) -> None:
    """Take a port off its bridge, for good; and first tell whoever did something to it."""
    for left in hub.on_left:
        left(port)
    port.member.ports.pop(port.network.number, None)
    port.network.ports.pop(port.member.box, None)
    _put_down(hub, port.index, number(netlink.MASTER, 0))


def remove_later(hub: "Hub", index: int) -> None:
    """A link that is on no bridge ends: nothing comes through it any more, and the next sweep deletes it."""
    _put_down(hub, index)
    hub.sweep_later()


def _put_down(hub: "Hub", index: int, *more: bytes) -> None:
    try:
        hub.netlink.ask(change_link(index, *more, number(netlink.GROUP, _GROUP_LEFT), up=False))
    except OSError as error:
        if error.errno != errno.ENODEV:  # it went with its sandbox's namespace
            raise


def sweep(hub: "Hub") -> None:
    """Delete what has left, and the kernel has not deleted with a namespace: one may be kept by a socket of a client."""
    try:
        hub.netlink.ask(netlink.delete_links(_GROUP_LEFT))
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


OPERATIONS = {"make_network": make_network, "remove_network": remove_network, "join": join, "leave": leave}
