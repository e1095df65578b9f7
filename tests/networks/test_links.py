"""What a kernel that lacks a part makes of a request, by errors that this one does not give."""

from __future__ import annotations

import errno
from typing import Any, cast

import pytest

from lxsandbox.errors import HostUnsupported
from lxsandbox.host import NAMES, probe
from lxsandbox.hub import links
from lxsandbox.hub.links import bridge_message, veth_message
from lxsandbox.hub.members import Member, Network, Port
from lxsandbox.hub.refusal import Refused
from lxsandbox.netlink.attributes import attribute
from lxsandbox.netlink.conversation import Conversation, Request
from lxsandbox.service.hub_link import _error

MAC = "02:6c:0a:c0:00:01"
IFLA_OPERSTATE, IF_OPER_UP = 16, 6


class Kernel:
    """Answers each message with this errno."""

    def __init__(self, number: int) -> None:
        self.number = number

    def ask(self, *_: Request) -> list[bytes]:
        raise OSError(self.number, "refused")


@pytest.mark.parametrize("kind", ["veth", "bridge"])
def test_a_kernel_without_a_kind_of_link_is_refused_by_the_name_that_doctor_has_for_it(kind: str) -> None:
    with pytest.raises(Refused) as caught:
        links._ask_for_kind(cast("Conversation", Kernel(errno.EOPNOTSUPP)), bridge_message("b0", 1, MAC), kind)

    refused = caught.value
    told = {"kind": refused.kind, "message": str(refused), "hint": refused.hint, "capability": refused.capability}
    error = _error(cast("dict[str, Any]", told))
    assert isinstance(error, HostUnsupported)
    assert error.capability == kind
    assert kind in NAMES
    assert f"modprobe {kind}" in error.hint


def test_any_other_error_of_the_kernel_is_told_as_it_is() -> None:
    message = veth_message("p0", 1, bridge=0, interface="eth0", inside=2, netns=0, mac=MAC)

    with pytest.raises(OSError, match="refused"):
        links._ask_for_kind(cast("Conversation", Kernel(errno.ENOSPC)), message, "veth")


class KernelWithoutIpv6(Kernel):
    """Refuses what is about IPv6 by this errno, and does the rest: the link is up."""

    def attempt(self, *messages: Request) -> tuple[list[int], list[bytes]]:
        told = [self.number] * 3 + [0] * (len(messages) - 3)
        return told, [bytes(16) + attribute(IFLA_OPERSTATE, bytes([IF_OPER_UP]))]


def port() -> Port:
    network = Network(0, "net", "b1", 1, "10.192.0.1", "fd6c:7873::1")
    given = {"interface": "eth0", "mac": MAC, "ipv4": "10.192.0.2", "ipv6": "fd6c:7873::2"}
    return Port(Member("box", -1, ["box"]), network, 2, given)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EACCES, errno.EOPNOTSUPP])
def test_a_kernel_or_a_sandbox_without_ipv6_has_no_ipv6_address(number: int) -> None:
    made = port()

    links._bring_up(cast("Conversation", KernelWithoutIpv6(number)), made)

    assert (made.ipv4, made.ipv6) == ("10.192.0.2", None)


def test_ipv6_that_fails_for_another_reason_is_an_error() -> None:
    with pytest.raises(OSError, match="cannot be brought up: No buffer space"):
        links._bring_up(cast("Conversation", KernelWithoutIpv6(errno.ENOBUFS)), port())


def test_a_probe_leaves_no_link() -> None:
    before = _links()

    found = probe(["veth", "bridge"])

    assert [each.name for each in found] == ["veth", "bridge"]
    assert _links() == before


def _links() -> str:
    with open("/proc/net/dev", encoding="ascii") as file:
        return " ".join(sorted(line.partition(":")[0] for line in file))
