"""Attempts on what faults between sandboxes are made of: nftables of a bridge, the queues tbf and netem.

Every function here changes the process that calls it: it becomes root of a network of its own, as the hub is.
"""

from __future__ import annotations

import errno

from lxsandbox.host.lack import Lack
from lxsandbox.host.namespaces import enter_user_namespace
from lxsandbox.netlink import nftables as nft
from lxsandbox.netlink import qdiscs
from lxsandbox.netlink.conversation import NETFILTER, ROUTE, Conversation
from lxsandbox.syscalls import clone

__all__ = ["netem", "nftables", "tbf"]

_LOOPBACK = 1
_TABLE = "probe"
_CAUSES = {"tbf": "tbf-kernel", "netem": "netem-kernel"}


def nftables(_scratch: str) -> str:
    """A rule of each kind that faults have: by the ports of a bridge, by chance, counted by link."""
    enter_user_namespace(clone.CLONE_NEWNET)
    key = nft.name_key(["one", "other"])
    matching = (nft.chance(0.5), nft.ports(incoming=True, outgoing=True), nft.in_set("links"), nft.verdict(nft.DROP))
    try:
        with Conversation(NETFILTER) as kernel:
            sets = [nft.table(_TABLE), nft.counter_set(_TABLE, "links", names=2), *nft.elements(_TABLE, "links", [key])]
            chain = nft.base_chain(_TABLE, "forward", nft.FORWARD)
            nft.commit(kernel, [*sets, chain, nft.rule(_TABLE, "forward", *matching)])
            counted = nft.read_set(kernel, _TABLE, "links")
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
