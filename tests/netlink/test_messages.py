"""Our messages, read by another implementation: pyroute2's decoders say of each what was meant."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from pyroute2.netlink.nfnetlink.nftsocket import (
    nft_chain_msg,
    nft_rule_msg,
    nft_set_elem_list_msg,
    nft_set_msg,
    nft_table_msg,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from lxsandbox.hub.links import bridge_message, veth_message
from lxsandbox.netlink import expressions as nft
from lxsandbox.netlink import links, qdiscs
from lxsandbox.netlink.attributes import number
from lxsandbox.netlink.conversation import Request, packed
from lxsandbox.netlink.nftables import BRIDGE, DROP, FORWARD, INET, POSTROUTING, Table, name_key

MAC = "02:6c:0a:c0:00:01"
REQUEST, ACK, EXCLUSIVE, CREATE, APPEND, DUMP = 0x1, 0x4, 0x200, 0x400, 0x800, 0x300
NEW = REQUEST | ACK | EXCLUSIVE | CREATE
ADDRESS4, BROADCAST4 = (socket.inet_aton(text) for text in ("10.192.0.2", "10.192.3.255"))
ADDRESS6 = socket.inet_pton(socket.AF_INET6, "fd6c:7873::2")
FRAMES, PACKETS = Table(BRIDGE, "t"), Table(INET, "t")
FIRST = "NFT_REG32_00"


def read(kind: type[Any], request: Request) -> dict[str, Any]:
    """The fields of the message's struct, what its header says, and its attributes."""
    message = kind(packed(request, 1))
    message.decode()
    header = message["header"]
    assert header["length"] == len(packed(request, 1))
    fields = {name: value for name, value in message.items() if name not in ("attrs", "header", "__align")}
    return {"type": header["type"] & 0xFF, "asked": header["flags"], **fields, **attributes(message)}


def attributes(part: Any) -> dict[str, Any]:
    return {name.partition("_")[2]: told(value) for name, value in ((each[0], each[1]) for each in part["attrs"])}


def told(value: Any) -> Any:
    if isinstance(value, list):
        return [told(each) for each in value]
    if isinstance(value, dict):
        own = {name: each for name, each in value.items() if name not in ("attrs", "__align", "header")}
        return own | attributes(value) if "attrs" in value else own
    return value


def has(found: dict[str, Any], **wanted: Any) -> None:
    assert {name: found.get(name) for name in wanted} == wanted


def test_a_bridge_forwards_at_once_and_keeps_its_address() -> None:
    found = read(ifinfmsg, bridge_message("b0", 100, MAC))

    has(found, type=16, asked=NEW, index=100, flags=1, change=1, IFNAME="b0", ADDRESS=MAC)
    assert found["LINKINFO"] == {
        "INFO_KIND": "bridge",
        "INFO_DATA": {"BR_FORWARD_DELAY": 0, "BR_STP_STATE": 0, "BR_MCAST_SNOOPING": 0},
    }


def test_a_veth_has_both_ends_where_they_belong() -> None:
    found = read(ifinfmsg, veth_message("p0", 101, bridge=100, interface="eth0", inside=102, netns=7, mac=MAC))

    has(found, type=16, asked=NEW, index=101, flags=1, change=1, IFNAME="p0", MTU=65520, MASTER=100)
    has(found, NUM_TX_QUEUES=1, NUM_RX_QUEUES=1)
    assert found["LINKINFO"]["INFO_KIND"] == "veth"
    peer = found["LINKINFO"]["INFO_DATA"]["INFO_PEER"]
    has(peer, index=102, flags=0, change=0, IFNAME="eth0", NET_NS_FD=7, ADDRESS=MAC, MTU=65520)


@pytest.mark.parametrize(("up", "flags", "change"), [(True, 1, 1), (False, 0, 1), (None, 0, 0)])
def test_a_link_is_brought_up_or_down_or_left_as_it_is(up: bool | None, flags: int, change: int) -> None:
    found = read(ifinfmsg, links.change_link(5, links.NO_GENERATED_ADDRESSES, number(links.MASTER, 0), up=up))

    has(found, type=16, asked=REQUEST | ACK, index=5, flags=flags, change=change, MASTER=0)
    assert found["AF_SPEC"] == {"INET6": {"INET6_ADDR_GEN_MODE": 1}}


def test_links_are_looked_for_by_name_and_deleted_by_group() -> None:
    has(read(ifinfmsg, links.look_at_link(0, links.name("eth0"))), type=18, asked=REQUEST | ACK, index=0, IFNAME="eth0")
    has(read(ifinfmsg, links.delete_links(77)), type=17, asked=REQUEST | ACK, index=0, GROUP=77)


def test_an_ipv4_address_has_its_broadcast_and_an_ipv6_address_is_there_at_once() -> None:
    over_ipv4 = read(ifaddrmsg, links.new_address(5, ADDRESS4, 22, broadcast=BROADCAST4))
    over_ipv6 = read(ifaddrmsg, links.new_address(5, ADDRESS6, 64))

    has(over_ipv4, type=20, asked=NEW, family=socket.AF_INET, prefixlen=22, flags=0, scope=0, index=5)
    has(over_ipv4, LOCAL="10.192.0.2", ADDRESS="10.192.0.2", BROADCAST="10.192.3.255")
    has(over_ipv6, type=20, asked=NEW, family=socket.AF_INET6, prefixlen=64, flags=0x02, scope=0, index=5)
    has(over_ipv6, ADDRESS="fd6c:7873::2", LOCAL=None)


def test_a_route_leads_to_a_neighbour_or_to_the_link_itself() -> None:
    default, one = (read(rtmsg, links.new_route(socket.AF_INET, 5, **way)) for way in ({"by": ADDRESS4}, {"to": ADDRESS4}))

    has(default, type=1, asked=NEW, dst_len=0, table=254, proto=4, scope=0, DST=None, OIF=5, GATEWAY="10.192.0.2")
    has(one, type=1, asked=NEW, dst_len=32, table=254, proto=4, scope=253, DST="10.192.0.2", OIF=5, GATEWAY=None)
    has(read(rtmsg, links.new_route(socket.AF_INET6, 5, to=ADDRESS6)), dst_len=128, scope=0, DST="fd6c:7873::2")


class Kernel:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def ask(self, *requests: Request) -> list[bytes]:
        self.asked += requests
        return []


def queue(kind: str, options: bytes) -> dict[str, Any]:
    kernel: Any = Kernel()
    qdiscs.put(kernel, 5, kind, options, handle=1 << 16)
    (request,) = kernel.asked
    return read(tcmsg, request)


def test_a_bucket_has_its_rate_and_its_limit() -> None:
    found = queue("tbf", qdiscs.tbf_options(rate=125_000, burst=70_000, limit=82_500))

    has(found, type=36, asked=REQUEST | ACK | CREATE | 0x100, index=5, handle=1 << 16, parent=0xFFFFFFFF, KIND="tbf")
    has(found["OPTIONS"]["TBF_PARMS"], rate=125_000, limit=82_500)


def test_netem_has_its_delay_its_shares_and_its_rate() -> None:
    wanted = qdiscs.Netem(delay=0.1, jitter=0.01, loss=0.25, duplicate=0.5, corrupt=0.125, reorder=0.0625, rate=125_000)

    found = queue("netem", wanted.options())["OPTIONS"]

    has(found, delay=1_562_500, jitter=156_250, loss=round(0xFFFFFFFF / 4), duplicate=round(0xFFFFFFFF / 2), gap=1)
    has(found["NETEM_CORRUPT"], prob_corrupt=round(0xFFFFFFFF / 8))
    has(found["NETEM_REORDER"], prob_reorder=round(0xFFFFFFFF / 16))
    has(found["NETEM_RATE"], rate=125_000)


def test_a_table_is_of_its_family() -> None:
    has(read(nft_table_msg, FRAMES.make()), type=0, asked=REQUEST | CREATE, nfgen_family=7, TABLE_NAME="t")
    has(read(nft_table_msg, PACKETS.make()), type=0, asked=REQUEST | CREATE, nfgen_family=1, TABLE_NAME="t")
    has(read(nft_table_msg, PACKETS.delete()), type=2, asked=REQUEST, nfgen_family=1, TABLE_NAME="t")


def test_a_chain_hangs_on_its_hook_or_on_nothing() -> None:
    hooked = read(nft_chain_msg, PACKETS.base_chain("c", POSTROUTING, kind="nat", priority=100))
    dropping = read(nft_chain_msg, FRAMES.base_chain("c", FORWARD, policy=DROP))
    rules, chain = PACKETS.delete_chain("c")

    has(hooked, type=3, asked=REQUEST | CREATE, CHAIN_TABLE="t", CHAIN_NAME="c", CHAIN_TYPE="nat", CHAIN_POLICY=1)
    assert hooked["CHAIN_HOOK"] == {"HOOK_HOOKNUM": 4, "HOOK_PRIORITY": 100}
    has(dropping, CHAIN_HOOK={"HOOK_HOOKNUM": 2, "HOOK_PRIORITY": 0}, CHAIN_TYPE="filter", CHAIN_POLICY=0)
    has(read(nft_chain_msg, FRAMES.inner_chain("c")), type=3, CHAIN_NAME="c", CHAIN_HOOK=None, CHAIN_TYPE=None)
    has(read(nft_rule_msg, rules), type=8, RULE_TABLE="t", RULE_CHAIN="c", RULE_EXPRESSIONS=None)
    has(read(nft_chain_msg, chain), type=5, CHAIN_TABLE="t", CHAIN_NAME="c")


def test_a_set_counts_by_names_and_a_map_leads_from_links_to_chains() -> None:
    counting = read(nft_set_msg, FRAMES.counter_set("s", names=2))
    leading = read(nft_set_msg, PACKETS.jumps("m"))

    has(counting, type=9, asked=REQUEST | CREATE, SET_NAME="s", SET_FLAGS=frozenset(), SET_KEY_LEN=32)
    assert counting["SET_EXPR"] == {"EXPR_NAME": "counter", "EXPR_DATA": {"COUNTER_BYTES": 0, "COUNTER_PACKETS": 0}}
    has(leading, type=9, SET_NAME="m", SET_FLAGS=frozenset({"NFT_SET_MAP"}), SET_KEY_LEN=4, SET_DATA_TYPE=0xFFFFFF00)


def test_elements_are_put_in_and_taken_out_a_few_hundred_at_a_time() -> None:
    keys = [name_key([f"p{index}", "b"]) for index in range(1000)]

    for kind, messages in ((12, FRAMES.add_elements("s", keys)), (14, FRAMES.delete_elements("s", keys))):
        found = [read(nft_set_elem_list_msg, message) for message in messages]
        assert {(each["type"], each["SET_ELEM_LIST_SET"]) for each in found} == {(kind, "s")}
        of_all = [element for each in found for element in each["SET_ELEM_LIST_ELEMENTS"]]
        assert [element["SET_ELEM_KEY"]["DATA_VALUE"] for element in of_all] == keys
    assert keys[7] == b"p7".ljust(16, b"\0") + b"b".ljust(16, b"\0")


def test_an_element_of_a_map_jumps() -> None:
    (message,) = PACKETS.add_jump("m", b"\5\0\0\0", "box")

    (element,) = read(nft_set_elem_list_msg, message)["SET_ELEM_LIST_ELEMENTS"]

    assert element["SET_ELEM_KEY"] == {"DATA_VALUE": b"\5\0\0\0"}
    assert element["SET_ELEM_DATA"] == {"DATA_VERDICT": {"VERDICT_CODE": "NFT_JUMP", "VERDICT_CHAIN": "box"}}


def test_what_is_to_be_read_is_asked_for_whole() -> None:
    has(read(nft_rule_msg, FRAMES.read_rules()), type=7, asked=REQUEST | DUMP, nfgen_family=7, RULE_TABLE="t")
    has(read(nft_set_elem_list_msg, FRAMES.read_set("s")), type=13, asked=REQUEST | DUMP, SET_ELEM_LIST_SET="s")


def expressions(*given: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and data of each, the names of the data without what all of them begin with."""
    message = read(nft_rule_msg, FRAMES.rule("c", *given))
    has(message, type=6, asked=REQUEST | CREATE | APPEND, RULE_TABLE="t", RULE_CHAIN="c")
    for each in message["RULE_EXPRESSIONS"]:
        yield each["EXPR_NAME"], {name.partition("_")[2]: value for name, value in each["EXPR_DATA"].items()}


def compares(operator: str, data: bytes) -> tuple[str, dict[str, Any]]:
    return "cmp", {"SREG": FIRST, "OP": f"NFT_CMP_{operator}", "DATA": {"DATA_VALUE": data}}


def loads(key: str, register: str = FIRST) -> tuple[str, dict[str, Any]]:
    return "meta", {"DREG": register, "KEY": f"NFT_META_{key}"}


def decides(code: str, **chain: str) -> tuple[str, dict[str, Any]]:
    verdict = {"VERDICT_CODE": code, **chain}
    return "immediate", {"DREG": "NFT_REG_VERDICT", "DATA": {"DATA_VERDICT": verdict}}


MEANT: dict[str, tuple[bytes, list[tuple[str, dict[str, Any]]]]] = {
    "accept": (nft.accept(), [decides("NF_ACCEPT")]),
    "drop": (nft.drop(), [decides("NF_DROP")]),
    "jump": (nft.jump("x"), [decides("NFT_JUMP", VERDICT_CHAIN="x")]),
    "go": (nft.go("x"), [decides("NFT_GOTO", VERDICT_CHAIN="x")]),
    "link in": (nft.meta(nft.IN_INDEX), [loads("IIF")]),
    "version": (nft.meta(nft.VERSION), [loads("NFPROTO")]),
    "ports": (nft.ports(incoming=True, outgoing=True), [loads("IIFNAME"), loads("OIFNAME", "NFT_REG32_04")]),
    "port out": (nft.ports(incoming=False, outgoing=True), [loads("OIFNAME")]),
    "ethertype": (nft.ethertype(0x88B5), [loads("PROTOCOL"), compares("EQ", b"\x88\xb5")]),
    "transport": (nft.transport(socket.IPPROTO_TCP), [loads("L4PROTO"), compares("EQ", b"\6")]),
    "not": (nft.compare(b"ab", equal=False), [compares("NEQ", b"ab")]),
    "field": (
        nft.field(nft.TRANSPORT_HEADER, 2, 2),
        [("payload", {"DREG": FIRST, "BASE": "NFT_PAYLOAD_TRANSPORT_HEADER", "OFFSET": 2, "LEN": 2})],
    ),
    "state": (
        nft.connection_state(6),
        [
            ("ct", {"DREG": FIRST, "KEY": "NFT_CT_STATE"}),
            ("bitwise", {
                "SREG": FIRST, "DREG": FIRST, "LEN": 4,
                "MASK": {"DATA_VALUE": b"\6\0\0\0"}, "XOR": {"DATA_VALUE": bytes(4)},
            }),
            compares("NEQ", bytes(4)),
        ],
    ),
    "chance": (
        nft.chance(0.25),
        [
            ("numgen", {"DREG": FIRST, "MODULUS": 1_000_000, "TYPE": "NFT_NG_RANDOM", "OFFSET": 0}),
            ("byteorder", {"SREG": FIRST, "DREG": FIRST, "OP": "NFT_BYTEORDER_HTON", "LEN": 4, "SIZE": 4}),
            compares("LT", (250_000).to_bytes(4, "big")),
        ],
    ),
    "set": (nft.in_set("s"), [("lookup", {"SET": "s", "SREG": FIRST})]),
    "map": (nft.jump_for("m"), [("lookup", {"SET": "m", "SREG": FIRST, "DREG": "NFT_REG_VERDICT"})]),
    "counter": (nft.counter(), [("counter", {"BYTES": 0, "PACKETS": 0})]),
    "reset": (nft.reset(), [("reject", {"TYPE": "NFT_REJECT_TCP_RST"})]),
    "reject": (
        nft.reject(),
        [("reject", {"TYPE": "NFT_REJECT_ICMPX_UNREACH", "ICMP_CODE": "NFT_REJECT_ICMPX_ADMIN_PROHIBITED"})],
    ),
    "masquerade": (nft.masquerade(), [("masq", {})]),
}  # fmt: skip


@pytest.mark.parametrize("name", MEANT)
def test_a_rule_is_made_of_what_was_meant(name: str) -> None:
    given, meant = MEANT[name]
    assert list(expressions(given)) == meant


def test_a_rule_carries_its_label() -> None:
    assert b"canaries" in bytes(read(nft_rule_msg, FRAMES.rule("c", nft.drop(), label="canaries"))["RULE_USERDATA"])
