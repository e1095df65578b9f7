"""What the hub knows: networks, the sandboxes in them, and the link of each sandbox to each network."""

import socket

from lxsandbox.syscalls.clone import CLONE_NEWNET, setns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["Member", "Network", "Port", "inside"]


# The indexes of a sandbox's own ends of links: far from those that the kernel gives to tunnels in every namespace (sit0 …).
FIRST_INSIDE = 1000


class Network:
    """A bridge and what is plugged into it. `hub4` and `hub6` are the addresses kept for the hub itself."""

    def __init__(self, number: int, name: str, bridge: str, index: int, hub4: str, hub6: str) -> None:
        self.number = number
        self.name = name
        self.bridge = bridge
        self.index = index
        self.hub4 = hub4
        self.hub6 = hub6
        self.ports: dict[str, Port] = {}  # by the id of the sandbox


class Port:
    """A link: `name` and `index` are of its end at the bridge, `interface` and `inside` of the other, in the sandbox."""

    def __init__(self, member: "Member", network: Network, index: int, given: "dict[str, str]") -> None:
        self.member = member
        self.network = network
        self.name = f"p{index}"
        self.index = index
        self.interface = given["interface"]
        self.inside = FIRST_INSIDE + len(member.ports)
        self.mac = given["mac"]
        self.ipv4 = given["ipv4"]
        self.ipv6: str | None = given["ipv6"]


class Member:
    """A sandbox: its network namespace, its names, its ports by the numbers of their networks, in the order of joining."""

    def __init__(self, box: str, netns: int, names: "list[str]") -> None:
        self.box = box
        self.netns = netns
        self.names = names
        self.ports: dict[int, Port] = {}
        self.dns: socket.socket | None = None


def inside(home: int, netns: int, act: "Callable[[], T]") -> "T":
    """What `act` returns when done in the network namespace `netns`; this process is back in `home` then. Raises OSError."""
    setns(netns, CLONE_NEWNET)
    try:
        return act()
    finally:
        setns(home, CLONE_NEWNET)
