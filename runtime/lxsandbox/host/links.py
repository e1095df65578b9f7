"""Attempts on links between sandboxes, made by the messages that the hub sends."""

from __future__ import annotations

import errno
import os

from lxsandbox.host.lack import Lack
from lxsandbox.host.namespaces import enter_user_namespace
from lxsandbox.hub.links import bridge_message, veth_message
from lxsandbox.netlink.conversation import ROUTE, Conversation, Request
from lxsandbox.syscalls import clone

__all__ = ["bridge", "veth"]

_BRIDGE, _PORT, _INSIDE = 100, 101, 102
_UNKNOWN = "this kernel knows no links of this kind"
_MAC = "02:6c:0a:c0:00:01"


def bridge(_scratch: str) -> str:
    """A bridge as a network has one."""
    enter_user_namespace(clone.CLONE_NEWNET)
    try:
        _ask(bridge_message("b0", _BRIDGE, _MAC))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise Lack("bridge-module", _UNKNOWN) from error
        raise
    return "a bridge was made and brought up in a network namespace"


def veth(_scratch: str) -> str:
    """A pair of links as a sandbox is joined to a network by, but for the bridge."""
    enter_user_namespace(clone.CLONE_NEWNET)
    netns = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        _ask(veth_message("p0", _PORT, bridge=0, interface="eth0", inside=_INSIDE, netns=netns, mac=_MAC))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise Lack("veth-module", _UNKNOWN) from error
        raise
    return "a pair of links was made in a network namespace"


def _ask(request: Request) -> None:
    with Conversation(ROUTE) as kernel:
        kernel.ask(request)
