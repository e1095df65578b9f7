"""nftables in plain bytes: tables, chains, maps, rules and their expressions, sent as one transaction.

See nft(8) for what they mean; numbers are of include/uapi/linux/netfilter/{nf_tables,nfnetlink}.h, and integers big-endian.
"""

import errno
import os
import struct
import sys

from lxsandbox.hub.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NLMSG_ERROR, Message, Netlink, attribute, nested, text
from lxsandbox.hub.refusal import Refused

__all__ = [
    "ACCEPT", "DROP", "Nftables", "Ruleset", "accept", "compare", "connection_state", "drop", "field", "jump", "look_up",
    "masked", "masquerade", "meta", "refused_by", "reject", "reset",
]  # fmt: skip

_NETLINK_NETFILTER = 12
INET = 1  # NFPROTO_INET: IPv4 and IPv6
DROP, ACCEPT = 0, 1
_JUMP = -3
_NEW_TABLE, _DEL_TABLE, _NEW_CHAIN, _DEL_CHAIN, _NEW_RULE, _DEL_RULE = 0, 2, 3, 5, 6, 8
_NEW_SET, _NEW_ELEMENT, _DEL_ELEMENT = 9, 12, 14
_SUBSYSTEM = 10 << 8
_BEGIN, _END = 0x10, 0x11
_BATCH = struct.pack(">BBH", 0, 0, 10)
_APPEND = 0x800
_VERDICT_REGISTER, _REGISTER = 0, 1
_MAP = 0x8
_VERDICT_TYPE = 0xFFFFFF00
_INTERFACE_INDEX = 20  # how nft(8) shows keys
META_NFPROTO, META_L4PROTO, META_IIF, META_IIFNAME, META_OIFNAME = 15, 16, 4, 6, 7
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
EQUAL, NOT_EQUAL = 0, 1
_ICMPX_UNREACHABLE, _TCP_RESET = 2, 1
_ADMIN_PROHIBITED = 3
HOOK_FORWARD, HOOK_INPUT, HOOK_POSTROUTING = 2, 1, 4


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">i" if value < 0 else ">I", value))


def _expression(name: str, *attributes: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *attributes))


def _value(kind: int, data: bytes) -> bytes:
    return nested(kind, attribute(1, data))


def _verdict(kind: int, code: int, chain: str = "") -> bytes:
    return nested(kind, nested(2, _u32(1, code), *([text(2, chain)] if chain else [])))


def meta(key: int) -> bytes:
    """Load what is known of the packet beside its bytes: of an interface or a protocol, see META_…"""
    return _expression("meta", _u32(1, _REGISTER), _u32(2, key))


def field(base: int, offset: int, length: int) -> bytes:
    """Load bytes of a header."""
    return _expression("payload", _u32(1, _REGISTER), _u32(2, base), _u32(3, offset), _u32(4, length))


def masked(mask: bytes) -> bytes:
    """Keep the bits of `mask` of what is loaded."""
    zero = bytes(len(mask))
    return _expression("bitwise", _u32(1, _REGISTER), _u32(2, _REGISTER), _u32(3, len(mask)), _value(4, mask), _value(5, zero))


def compare(data: bytes, operator: int = EQUAL) -> bytes:
    """Go on with the rule where this is what is loaded."""
    return _expression("cmp", _u32(1, _REGISTER), _u32(2, operator), _value(3, data))


def connection_state(mask: int) -> tuple[bytes, ...]:
    """Go on where the packet's connection is in one of the states: 2 established, 4 related (bits of this machine's order)."""
    load = _expression("ct", _u32(1, _REGISTER), _u32(2, 0))
    return load, masked(struct.pack("=I", mask)), compare(bytes(4), NOT_EQUAL)


def look_up(name: str) -> bytes:
    """Do what the map `name` says for what is loaded; go on with the next rule where it says nothing."""
    return _expression("lookup", text(1, name), _u32(2, _REGISTER), _u32(3, _VERDICT_REGISTER))


def _immediate(code: int, chain: str = "") -> bytes:
    return _expression("immediate", _u32(1, _VERDICT_REGISTER), _verdict(2, code, chain))


def accept() -> bytes:
    return _immediate(ACCEPT)


def drop() -> bytes:
    return _immediate(DROP)


def jump(chain: str) -> bytes:
    return _immediate(_JUMP, chain)


def reset() -> bytes:
    """Answer a TCP segment with a reset."""
    return _expression("reject", _u32(1, _TCP_RESET))


def reject() -> bytes:
    """Answer that it is forbidden, by ICMP of the packet's family."""
    return _expression("reject", _u32(1, _ICMPX_UNREACHABLE), attribute(2, bytes([_ADMIN_PROHIBITED])))


def masquerade() -> bytes:
    return _expression("masq")


class Nftables(Netlink):
    """A socket for transactions of the network namespace that this process is in now."""

    def __init__(self) -> None:
        """Raises Refused where the kernel has no nftables."""
        try:
            super().__init__(_NETLINK_NETFILTER)
        except OSError as error:
            raise refused_by(error) from error

    def transact(self, messages: list[Message]) -> None:
        """Do all of it, or nothing. Raises the OSError of the first message that failed."""
        first = self._sequence + 1
        self._sequence += len(messages) + 2
        packet = _packed(_BEGIN, 0, first, _BATCH)
        for place, (kind, flags, body) in enumerate(messages, first + 1):
            packet += _packed(kind, flags | NLM_F_ACK, place, body)
        self._socket.send(packet + _packed(_END, 0, first + 1 + len(messages), _BATCH))
        missing, failed = len(messages), 0
        while missing:
            for kind, sequence, body in self._receive():
                if kind != NLMSG_ERROR or sequence < first:
                    continue
                failed = failed or -int.from_bytes(body[:4], sys.byteorder, signed=True)
                missing = 0 if sequence == first else missing - 1  # what is said of the begin is said of all
        if failed:
            raise OSError(failed, f"nftables: {os.strerror(failed)}")


def _packed(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags | NLM_F_REQUEST, sequence, 0) + body


class Ruleset:
    """One table of the family inet. What is asked for is collected; `commit` does all of it, or nothing."""

    def __init__(self, asked: Nftables, table: str) -> None:
        self._asked = asked
        self._table = text(1, table)
        self._messages: list[Message] = []

    def __bool__(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self._messages)

    def _add(self, kind: int, flags: int, *attributes: bytes) -> None:
        self._messages.append((_SUBSYSTEM | kind, flags, struct.pack(">BBH", INET, 0, 0) + b"".join(attributes)))

    def make_table(self) -> None:
        self._add(_NEW_TABLE, NLM_F_CREATE, self._table)

    def make_chain(
        self, name: str, hook: int | None = None, *, kind: str = "filter", priority: int = 0, policy: int = ACCEPT
    ) -> None:
        """A chain to jump to or, with `hook`, one where packets come by."""
        hooked = [] if hook is None else [nested(4, _u32(1, hook), _u32(2, priority)), _u32(5, policy), text(7, kind)]
        self._add(_NEW_CHAIN, NLM_F_CREATE, self._table, text(3, name), *hooked)

    def remove_chain(self, name: str) -> None:
        """With its rules."""
        self._add(_DEL_RULE, 0, self._table, text(2, name))
        self._add(_DEL_CHAIN, 0, self._table, text(3, name))

    def make_map(self, name: str, key_length: int) -> None:
        """From keys to verdicts."""
        kinds = [_u32(4, _INTERFACE_INDEX), _u32(5, key_length), _u32(6, _VERDICT_TYPE)]
        self._add(_NEW_SET, NLM_F_CREATE, self._table, text(2, name), _u32(3, _MAP), *kinds, _u32(10, 1))

    def put(self, name: str, key: bytes, code: int, chain: str = "") -> None:
        """Have the map say `code`, or to jump to `chain`, for `key`."""
        element = nested(1, _value(1, key), _verdict(2, _JUMP if chain else code, chain))
        self._add(_NEW_ELEMENT, NLM_F_CREATE, self._table, text(2, name), nested(3, element))

    def take(self, name: str, key: bytes) -> None:
        """Have the map say nothing for `key` any more."""
        self._add(_DEL_ELEMENT, 0, self._table, text(2, name), nested(3, nested(1, _value(1, key))))

    def rule(self, chain: str, *expressions: bytes) -> None:
        """At the end of the chain."""
        self._add(_NEW_RULE, NLM_F_CREATE | _APPEND, self._table, text(2, chain), nested(4, *expressions))

    def commit(self) -> None:
        """Raises Refused where the kernel has no nftables, else the OSError of the first that failed; then none is done."""
        messages, self._messages = self._messages, []
        try:
            self._asked.transact(messages)
        except OSError as error:
            raise refused_by(error) from error


def refused_by(error: OSError) -> Exception:
    """What to raise for an error of nftables: Refused where the kernel has none, or not all that is used of it."""
    if error.errno not in (errno.EOPNOTSUPP, errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
        return error
    return Refused(
        "HostUnsupported",
        f"this kernel cannot filter what leaves, by nftables: {error.strerror}",
        hint="run `modprobe -a nf_tables nft_ct nft_masq nft_reject_inet`, or boot a kernel that has them",
        capability="egress",
    )
