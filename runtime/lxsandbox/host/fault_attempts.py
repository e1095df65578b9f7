"""Attempts on what faults between sandboxes are made of: nftables of a bridge, the queues tbf and netem.

Every function here changes the process that calls it: it becomes root of a network of its own, as the hub is.
"""

from __future__ import annotations

import errno

from lxsandbox.host.lack import Lack
from lxsandbox.host.namespaces import enter_user_namespace
from lxsandbox.netlink import expressions as nft
from lxsandbox.netlink import qdiscs
from lxsandbox.netlink.conversation import NETFILTER, ROUTE, Conversation
from lxsandbox.netlink.counts import read_set
from lxsandbox.netlink.nftables import BRIDGE, FORWARD, Table, commit, name_key
from lxsandbox.syscalls import clone

__all__ = ["netem", "nftables", "tbf"]

_LOOPBACK = 1
_TABLE = Table(BRIDGE, "probe")
_CAUSES = {"tbf": "tbf-kernel", "netem": "netem-kernel"}


def nftables(_scratch: str) -> str:
    """A rule of each kind that faults have: by the ports of a bridge, by chance, counted by link."""
    enter_user_namespace(clone.CLONE_NEWNET)
    key = name_key(["one", "other"])
    matching = (nft.chance(0.5), nft.ports(incoming=True, outgoing=True), nft.in_set("links"), nft.drop())
    try:
        with Conversation(NETFILTER) as kernel:
            sets = [_TABLE.make(), _TABLE.counter_set("links", names=2), *_TABLE.add_elements("links", [key])]
            chain = _TABLE.base_chain("forward", FORWARD)
            commit(kernel, [*sets, chain, _TABLE.rule("forward", *matching)])
            counted = read_set(kernel, _TABLE, "links")
    except OSError as error:
        raise Lack("nftables-kernel", f"a table for a bridge: {error.strerror}") from error
    if key not in counted:
        raise Lack("nftables-kernel", "a table for a bridge was made, and counts nothing")
    return "a table that drops and counts packets between ports of a bridge was made"


def tbf(_scratch: str) -> str:
    """A rate on a link."""
    return _queue("tbf", qdiscs.tbf_options(rate=1_000_000, burst=66_000, limit=132_000))


def netem(_scratch: str) -> str:
    """A delay on a link."""
    return _queue("netem", qdiscs.Netem(delay=0.001).options())


def _queue(kind: str, options: bytes) -> str:
    enter_user_namespace(clone.CLONE_NEWNET)
    with Conversation(ROUTE) as kernel:
        try:
            qdiscs.put(kernel, _LOOPBACK, kind, options, handle=1 << 16)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            raise Lack(_CAUSES[kind], f"this kernel has no queue of the kind {kind}") from error
        seen = qdiscs.read(kernel, _LOOPBACK).kind
    return f"a queue of the kind {seen} was put on a link"
