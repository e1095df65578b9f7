"""The rules for what leaves: which sandbox may reach what, and the answer to the rest, which comes at once.

A sandbox is known by its link, so an address that it gives itself changes nothing. Nothing goes from one sandbox's link to
another's, and nothing to the hub itself.
"""

import errno
import socket
import struct

from lxsandbox.hub.refusal import Refused
from lxsandbox.netlink import expressions as nft
from lxsandbox.netlink.conversation import NETFILTER, Conversation, Request
from lxsandbox.netlink.nftables import DROP, FORWARD, INET, INPUT, POSTROUTING, Table, commit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Door", "Doors", "address_and_bits"]

_TABLE = Table(INET, "egress")
_DOORS = "doors"  # from links of sandboxes to what they may reach
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
    version = [nft.meta(nft.VERSION), nft.compare(_IPV4 if ipv4 else _IPV6)]
    if not bits:
        return version
    load = nft.field(nft.NETWORK_HEADER, 16 if ipv4 else 24, len(address))
    mask = ((1 << bits) - 1) << (len(address) * 8 - bits)
    return [*version, load, nft.masked(mask.to_bytes(len(address), "big")), nft.compare(address)]


def _to_port(protocol: str, port: int) -> list[bytes]:
    load = nft.field(nft.TRANSPORT_HEADER, 2, 2)
    return [nft.transport(_PROTOCOLS[protocol]), load, nft.compare(struct.pack(">H", port))]


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
        """Raises Refused where the kernel has no nftables."""
        try:
            self._kernel = Conversation(NETFILTER)
        except OSError as error:
            raise _refused_by(error) from error
        self._commit(self._made(outlet.encode().ljust(16, b"\0")))

    def _commit(self, requests: list[Request]) -> None:
        """Raises Refused where the kernel has no nftables, else the OSError of the first that failed; then none is done."""
        try:
            commit(self._kernel, requests)
        except OSError as error:
            raise _refused_by(error) from error

    def _made(self, outlet: bytes) -> list[Request]:
        rule = _TABLE.rule
        known = nft.connection_state(_ESTABLISHED_OR_RELATED) + nft.accept()
        # Frames within a network come by here too where the host has br_netfilter: no business of these rules.
        bridged = [nft.meta(nft.IN_NAME), nft.compare(b"b"), nft.meta(nft.OUT_NAME), nft.compare(b"b")]
        never = [_to(*address_and_bits("/".join(map(str, network)))) for network in _NEVER]
        to_outlet = nft.meta(nft.OUT_NAME) + nft.compare(outlet)
        return [
            _TABLE.make(),
            _TABLE.jumps(_DOORS),
            _TABLE.base_chain("forward", FORWARD, policy=DROP),
            rule("forward", *bridged, nft.accept()),
            *(rule("forward", *matching, nft.drop()) for matching in never),
            rule("forward", known),
            _TABLE.inner_chain("out"),
            rule("forward", to_outlet, nft.jump("out")),
            rule("out", nft.meta(nft.IN_INDEX), nft.jump_for(_DOORS)),
            *self._refusals("forward"),
            _TABLE.base_chain("input", INPUT, policy=DROP),
            rule("input", known),
            *(rule("input", *_neighbourly(kind), nft.accept()) for kind in _NEIGHBOURS),
            *self._refusals("input"),
            _TABLE.base_chain("leave", POSTROUTING, kind="nat", priority=100),
            rule("leave", to_outlet, nft.masquerade()),
        ]

    def _refusals(self, chain: str) -> list[Request]:
        return [_TABLE.rule(chain, nft.transport(socket.IPPROTO_TCP), nft.reset()), _TABLE.rule(chain, nft.reject())]

    def open(self, index: int, allowed: "list[dict[str, Any]] | None") -> Door:
        """For the sandbox behind the link `index`."""
        door = Door(index, allowed)
        rules = [_TABLE.inner_chain(door.chain)]
        if allowed is None:
            rules.append(_TABLE.rule(door.chain, nft.accept()))
        for each in allowed or ():
            if each["network"]:
                rules += self._allowing(door, *address_and_bits(each["network"]), each)
        self._commit([*rules, *_TABLE.add_jump(_DOORS, door.key, door.chain)])
        return door

    def allow(self, door: Door, addresses: list[bytes], entries: "list[dict[str, Any]]") -> None:
        """The addresses belong to a name that these entries mean."""
        rules: list[Request] = []
        for address in addresses:
            for entry in entries:
                rules += self._allowing(door, address, len(address) * 8, entry)
        if rules:
            self._commit(rules)

    def _allowing(self, door: Door, address: bytes, bits: int, entry: "dict[str, Any]") -> list[Request]:
        """One rule, or none where it is there already."""
        what = address, bits, entry["protocol"], entry["port"]
        if what in door.known or len(door.known) >= _MOST_RULES:
            return []
        door.known.add(what)
        ports = [] if entry["port"] is None else _to_port(entry["protocol"], entry["port"])
        return [_TABLE.rule(door.chain, *_to(address, bits), *ports, nft.accept())]

    def close(self, door: Door) -> None:
        """Its sandbox leaves: connections that it has end with its link."""
        self._commit([*_TABLE.delete_elements(_DOORS, [door.key]), *_TABLE.delete_chain(door.chain)])


def _neighbourly(kind: int) -> list[bytes]:
    return [nft.transport(socket.IPPROTO_ICMPV6), nft.field(nft.TRANSPORT_HEADER, 0, 1), nft.compare(bytes([kind]))]


def _refused_by(error: OSError) -> Exception:
    """What to raise for an error of nftables: Refused where the kernel has none, or not all that is used of it."""
    if error.errno not in (errno.EOPNOTSUPP, errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
        return error
    return Refused(
        "HostUnsupported",
        f"this kernel cannot filter what leaves, by nftables: {error.strerror}",
        hint="run `modprobe -a nf_tables nft_ct nft_masq nft_reject_inet`, or boot a kernel that has them",
        capability="egress",
    )
