"""The rules for what leaves: which sandbox may reach what, and the answer to the rest, which comes at once.

A sandbox is known by its link, so an address that it gives itself changes nothing. Nothing goes from one sandbox's link to
another's, and nothing to the hub itself.
"""

import socket
import struct

from lxsandbox.hub import nft
from lxsandbox.hub.nft import Nftables, Ruleset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Door", "Doors", "address_and_bits"]

_TABLE = "egress"
_ESTABLISHED_OR_RELATED = 2 | 4
_NEIGHBOURS = (133, 134, 135, 136)  # ICMPv6 types of RFC 4861
_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_MOST_RULES = 4096  # of one sandbox: names may have as many addresses as they like
_IPV4, _IPV6 = bytes([2]), bytes([10])  # NFPROTO_…
# What the outlet would take for the host's own loopback, or for nobody's: no such packet reaches it.
_NEVER = (("0.0.0.0", 8), ("127.0.0.0", 8), ("::", 127), ("::ffff:0:0", 96))


def address_and_bits(network: str) -> tuple[bytes, int]:
    """The bytes of an address, and how many bits of it count."""
    address, _, bits = network.partition("/")
    data = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    return data, int(bits) if bits else len(data) * 8


def _to(address: bytes, bits: int) -> list[bytes]:
    """Goes on with packets to the first `bits` bits of this address."""
    ipv4 = len(address) == 4
    version = [nft.meta(nft.META_NFPROTO), nft.compare(_IPV4 if ipv4 else _IPV6)]
    if not bits:
        return version
    load = nft.field(nft.NETWORK_HEADER, 16 if ipv4 else 24, len(address))
    mask = ((1 << bits) - 1) << (len(address) * 8 - bits)
    return [*version, load, nft.masked(mask.to_bytes(len(address), "big")), nft.compare(address)]


def _to_port(protocol: str, port: int) -> list[bytes]:
    load = nft.field(nft.TRANSPORT_HEADER, 2, 2)
    return [*_of_protocol(_PROTOCOLS[protocol]), load, nft.compare(struct.pack(">H", port))]


def _of_protocol(number: int) -> list[bytes]:
    return [nft.meta(nft.META_L4PROTO), nft.compare(bytes([number]))]


class Door:
    """What one sandbox may reach; `allowed` is None where that is everything."""

    def __init__(self, index: int, allowed: "list[dict[str, Any]] | None") -> None:
        self.chain = f"box-{index}"
        self.key = struct.pack("=I", index)
        self.allowed = allowed
        self.known: set[tuple[bytes, int, str, int | None]] = set()

    def meant(self, name: str) -> "list[dict[str, Any]]":
        """The entries that mean this host name (lower case, no dot at its end)."""
        return [each for each in self.allowed or () if _covers(each["name"], name)]


def _covers(pattern: str, name: str) -> bool:
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else bool(pattern) and name == pattern


class Doors:
    """The table of the hub's network namespace; made with the first of them. `outlet` is the link that everything leaves by."""

    def __init__(self, outlet: str) -> None:
        self._asked = Nftables()
        self._make(outlet.encode().ljust(16, b"\0"))

    def _make(self, outlet: bytes) -> None:
        rules = Ruleset(self._asked, _TABLE)
        rules.make_table()
        rules.make_map("doors", 4)
        known = [*nft.connection_state(_ESTABLISHED_OR_RELATED), nft.accept()]
        rules.make_chain("forward", nft.HOOK_FORWARD, policy=nft.DROP)
        # Frames within a network come by here too where the host has br_netfilter: no business of these rules.
        bridged = [nft.meta(nft.META_IIFNAME), nft.compare(b"b"), nft.meta(nft.META_OIFNAME), nft.compare(b"b")]
        rules.rule("forward", *bridged, nft.accept())
        for network in _NEVER:
            rules.rule("forward", *_to(*address_and_bits("/".join(map(str, network)))), nft.drop())
        rules.rule("forward", *known)
        rules.make_chain("out")
        rules.rule("forward", nft.meta(nft.META_OIFNAME), nft.compare(outlet), nft.jump("out"))
        rules.rule("out", nft.meta(nft.META_IIF), nft.look_up("doors"))
        self._refuse(rules, "forward")
        rules.make_chain("input", nft.HOOK_INPUT, policy=nft.DROP)
        rules.rule("input", *known)
        for kind in _NEIGHBOURS:
            kinds = [nft.field(nft.TRANSPORT_HEADER, 0, 1), nft.compare(bytes([kind]))]
            rules.rule("input", *_of_protocol(socket.IPPROTO_ICMPV6), *kinds, nft.accept())
        self._refuse(rules, "input")
        rules.make_chain("leave", nft.HOOK_POSTROUTING, kind="nat", priority=100)
        rules.rule("leave", nft.meta(nft.META_OIFNAME), nft.compare(outlet), nft.masquerade())
        rules.commit()

    def _refuse(self, rules: Ruleset, chain: str) -> None:
        rules.rule(chain, *_of_protocol(socket.IPPROTO_TCP), nft.reset())
        rules.rule(chain, nft.reject())

    def open(self, index: int, allowed: "list[dict[str, Any]] | None") -> Door:
        """For the sandbox behind the link `index`."""
        door = Door(index, allowed)
        rules = Ruleset(self._asked, _TABLE)
        rules.make_chain(door.chain)
        if allowed is None:
            rules.rule(door.chain, nft.accept())
        for each in allowed or ():
            if each["network"]:
                self._allow(rules, door, *address_and_bits(each["network"]), each)
        rules.put("doors", door.key, 0, door.chain)
        rules.commit()
        return door

    def allow(self, door: Door, addresses: list[bytes], entries: "list[dict[str, Any]]") -> None:
        """The addresses belong to a name that these entries mean."""
        rules = Ruleset(self._asked, _TABLE)
        for address in addresses:
            for entry in entries:
                self._allow(rules, door, address, len(address) * 8, entry)
        if rules:
            rules.commit()

    def _allow(self, rules: Ruleset, door: Door, address: bytes, bits: int, entry: "dict[str, Any]") -> None:
        what = address, bits, entry["protocol"], entry["port"]
        if what not in door.known and len(door.known) < _MOST_RULES:
            door.known.add(what)
            ports = [] if entry["port"] is None else _to_port(entry["protocol"], entry["port"])
            rules.rule(door.chain, *_to(address, bits), *ports, nft.accept())

    def close(self, door: Door) -> None:
        """Its sandbox leaves: connections that it has end with its link."""
        rules = Ruleset(self._asked, _TABLE)
        rules.take("doors", door.key)
        rules.remove_chain(door.chain)
        rules.commit()
