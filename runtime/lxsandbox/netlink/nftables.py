"""Messages of nftables (include/uapi/linux/netfilter/nf_tables.h): tables, their chains, sets, maps and rules."""

import struct

from lxsandbox.netlink.attributes import attribute, be32, nested, of_text
from lxsandbox.netlink.conversation import ACK, APPEND, CREATE, DUMP, Conversation, Request
from lxsandbox.netlink.expressions import counter, jump_data, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ACCEPT", "BRIDGE", "DROP", "FORWARD", "INET", "INPUT", "OUTPUT", "POSTROUTING", "Table", "commit", "name_key"]

INET, BRIDGE = 1, 7  # NFPROTO_*: IPv4 and IPv6; frames
INPUT, FORWARD, OUTPUT, POSTROUTING = 1, 2, 3, 4  # NF_INET_* and NF_BR_*
DROP, ACCEPT = 0, 1
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_HEAD = struct.Struct("!BBH")  # struct nfgenmsg
_EDGE = _HEAD.pack(0, 0, _SUBSYSTEM)
_BEGIN, _END = (0x10, 0, _EDGE), (0x11, 0, _EDGE)
_NEW_TABLE, _DELETE_TABLE, _NEW_CHAIN, _DELETE_CHAIN, _NEW_RULE, _GET_RULE, _DELETE_RULE = 0, 2, 3, 5, 6, 7, 8
_NEW_SET, _NEW_ELEMENT, _GET_ELEMENT, _DELETE_ELEMENT = 9, 12, 13, 14
_MAP, _TO_VERDICT = 0x8, 0xFFFFFF00
_INTERFACE_INDEX = 20  # how nft(8) shows keys
_NAME_BYTES = 16  # IFNAMSIZ
_ELEMENTS_A_MESSAGE = 400  # an attribute holds 64 KiB


def commit(kernel: Conversation, requests: "Sequence[Request]") -> None:
    """Have all of it done, or none: a transaction. Raises OSError with the first refusal."""
    # What is refused is answered at any rate, and when the last one is answered all is done.
    *others, (kind, flags, body) = requests
    kernel.ask(_BEGIN, *others, (kind, flags | ACK, body), _END)


def name_key(names: "Sequence[str]") -> bytes:
    """The key of a set's element, as `expressions.ports` loads names."""
    return b"".join(name.encode().ljust(_NAME_BYTES, b"\0") for name in names)


class Table:
    """One table of a family; what its methods give is to be committed, or asked for where it reads."""

    def __init__(self, family: int, name: str) -> None:
        self._family = family
        self._name = of_text(1, name)

    def _message(self, kind: int, flags: int, *attributes: bytes) -> Request:
        return _SUBSYSTEM << 8 | kind, flags, _HEAD.pack(self._family, 0, 0) + self._name + b"".join(attributes)

    def make(self) -> Request:
        return self._message(_NEW_TABLE, CREATE)

    def delete(self) -> Request:
        """Takes the chains, sets and rules with it."""
        return self._message(_DELETE_TABLE, 0)

    def inner_chain(self, name: str) -> Request:
        """A chain that rules go to."""
        return self._message(_NEW_CHAIN, CREATE, of_text(3, name))

    def base_chain(self, name: str, hook: int, *, kind: str = "filter", priority: int = 0, policy: int = ACCEPT) -> Request:
        """A chain that the kernel itself goes through, at `hook`; `policy` for what no rule has said anything of."""
        where = nested(4, be32(1, hook), be32(2, priority))
        return self._message(_NEW_CHAIN, CREATE, of_text(3, name), where, be32(5, policy), of_text(7, kind))

    def delete_chain(self, name: str) -> list[Request]:
        """With its rules."""
        return [self._message(_DELETE_RULE, 0, of_text(2, name)), self._message(_DELETE_CHAIN, 0, of_text(3, name))]

    def rule(self, chain: str, *expressions: bytes, label: str = "") -> Request:
        """At the end of `chain`; `label` is how `counts.read_rules` tells it."""
        marked = (attribute(7, label.encode()),) if label else ()
        return self._message(_NEW_RULE, CREATE | APPEND, of_text(2, chain), nested(4, *expressions), *marked)

    def read_rules(self) -> Request:
        return self._message(_GET_RULE, DUMP)

    def counter_set(self, name: str, *, names: int) -> Request:
        """A set of tuples of `names` port names, each element with a counter of its own (Linux 5.7)."""
        return self._set(name, be32(3, 0), be32(4, 0), be32(5, _NAME_BYTES * names), be32(10, 1), counter(17))

    def jumps(self, name: str) -> Request:
        """A map from indexes of interfaces to chains."""
        return self._set(name, be32(3, _MAP), be32(4, _INTERFACE_INDEX), be32(5, 4), be32(6, _TO_VERDICT), be32(10, 1))

    def _set(self, name: str, *attributes: bytes) -> Request:
        return self._message(_NEW_SET, CREATE, of_text(2, name), *attributes)

    def read_set(self, name: str) -> Request:
        return self._message(_GET_ELEMENT, DUMP, of_text(2, name))

    def add_elements(self, name: str, keys: "Sequence[bytes]") -> list[Request]:
        """Add `keys` to a set."""
        return self._elements(_NEW_ELEMENT, CREATE, name, [nested(1, value(1, key)) for key in keys])

    def delete_elements(self, name: str, keys: "Sequence[bytes]") -> list[Request]:
        """Take `keys` out of a set or map."""
        return self._elements(_DELETE_ELEMENT, 0, name, [nested(1, value(1, key)) for key in keys])

    def add_jump(self, name: str, key: bytes, chain: str) -> list[Request]:
        """Have the map lead to `chain` for `key`."""
        return self._elements(_NEW_ELEMENT, CREATE, name, [nested(1, value(1, key), jump_data(2, chain))])

    def _elements(self, kind: int, flags: int, name: str, of_set: list[bytes]) -> list[Request]:
        parts = [of_set[start : start + _ELEMENTS_A_MESSAGE] for start in range(0, len(of_set), _ELEMENTS_A_MESSAGE)]
        return [self._message(kind, flags, of_text(2, name), nested(3, *few)) for few in parts]
