"""What a kernel that lacks a part makes of a request, by errors that this one does not give."""

from __future__ import annotations

import errno
from typing import Any, cast

import pytest

from lxsandbox.errors import HostUnsupported
from lxsandbox.host import NAMES, probe
from lxsandbox.hub import links
from lxsandbox.hub.links import bridge_message, veth_message
from lxsandbox.hub.netlink import Message, Netlink
from lxsandbox.hub.refusal import Refused
from lxsandbox.service.hub_link import _error

MAC = "02:6c:0a:c0:00:01"


class Kernel:
    """Answers each message with this errno."""

    def __init__(self, number: int) -> None:
        self.number = number

    def ask(self, *_: Message) -> list[bytes]:
        raise OSError(self.number, "refused")


@pytest.mark.parametrize("kind", ["veth", "bridge"])
def test_a_kernel_without_a_kind_of_link_is_refused_by_the_name_that_doctor_has_for_it(kind: str) -> None:
    with pytest.raises(Refused) as caught:
        links._ask_for_kind(cast("Netlink", Kernel(errno.EOPNOTSUPP)), bridge_message("b0", 1, MAC), kind)

    refused = caught.value
    told = {"kind": refused.kind, "message": str(refused), "hint": refused.hint, "capability": refused.capability}
    error = _error(cast("dict[str, Any]", told))
    assert isinstance(error, HostUnsupported)
    assert error.capability == kind
    assert kind in NAMES
    assert f"modprobe {kind}" in error.hint


def test_any_other_error_of_the_kernel_is_told_as_it_is() -> None:
    message = veth_message("p0", 1, bridge=0, interface="eth0", netns=0, mac=MAC)

    with pytest.raises(OSError, match="refused"):
        links._ask_for_kind(cast("Netlink", Kernel(errno.ENOSPC)), message, "veth")


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EACCES, errno.EOPNOTSUPP])
def test_a_kernel_or_a_sandbox_without_ipv6_has_no_ipv6_address(number: int) -> None:
    class Port:
        ipv6, mac = "fd6c:7873::2", MAC

    assert not links._add_ipv6(cast("Netlink", Kernel(number)), 1, cast("Any", Port()))
    with pytest.raises(OSError, match="refused"):
        links._add_ipv6(cast("Netlink", Kernel(errno.ENOBUFS)), 1, cast("Any", Port()))


def test_a_probe_leaves_no_link() -> None:
    before = _links()

    found = probe(["veth", "bridge"])

    assert [each.name for each in found] == ["veth", "bridge"]
    assert _links() == before


def _links() -> str:
    with open("/proc/net/dev", encoding="ascii") as file:
        return " ".join(sorted(line.partition(":")[0] for line in file))
