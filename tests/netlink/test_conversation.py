"""A conversation with this kernel, in a network of its own: what is done, what is refused, and what is then not done."""

from __future__ import annotations

import subprocess
import sys

import pytest
from needs import needs

pytestmark = needs("user-namespaces", "nftables")

START = """
import errno, socket
from lxsandbox.host.namespaces import enter_user_namespace
from lxsandbox.netlink import expressions as nft
from lxsandbox.netlink import links, qdiscs
from lxsandbox.netlink.conversation import CREATE, NETFILTER, ROUTE, Conversation
from lxsandbox.netlink.counts import Count, read_rules, read_set
from lxsandbox.netlink.nftables import BRIDGE, FORWARD, INET, Table, commit, name_key
from lxsandbox.syscalls import clone
def errno_of(asked, *given):
    try:
        asked(*given)
    except OSError as error:
        return errno.errorcode[error.errno]
enter_user_namespace(clone.CLONE_NEWNET)
"""


def in_network(program: str) -> list[str]:
    """The lines that the program prints."""
    done = subprocess.run([sys.executable, "-c", START + program], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_all_of_a_packet_is_tried_and_each_refusal_is_told() -> None:
    said = in_network("""
loopback = socket.if_nametoindex("lo")
address = links.new_address(loopback, socket.inet_aton("10.192.0.2"), 22)
with Conversation(ROUTE) as kernel:
    errors, bodies = kernel.attempt(
        links.change_link(99, up=True), links.change_link(loopback, up=True), address, address, links.look_at_link(loopback)
    )
    print([errno.errorcode.get(each, each) for each in errors], len(bodies))
    print(errno_of(kernel.ask, links.change_link(loopback), links.change_link(99), address))
    print(links.index_of(kernel, "lo") == loopback, errno_of(links.index_of, kernel, "eth0"))
""")
    assert said[0] == "['ENODEV', 0, 0, 'EEXIST', 0] 1"
    assert said[1:] == ["ENODEV", "True ENODEV"]


def test_a_transaction_that_is_refused_anywhere_has_done_nothing() -> None:
    said = in_network("""
table = Table(INET, "t")
with Conversation(NETFILTER) as kernel:
    for wrong in ([table.rule("missing", nft.drop()), table.inner_chain("c")], [table.inner_chain("c"), table.rule("missing")]):
        print(errno_of(commit, kernel, [table.make(), *wrong]), errno_of(kernel.ask, table.read_rules()))
        print(errno_of(commit, kernel, [table.delete()]))
    commit(kernel, [table.make()])
    commit(kernel, [table.delete()])
""")
    assert said == ["ENOENT None", "ENOENT"] * 2


@pytest.mark.parametrize("rules", [1, 3000])
def test_a_transaction_may_be_long(rules: int) -> None:
    said = in_network(f"""
table = Table(INET, "t")
with Conversation(NETFILTER) as kernel:
    added = [table.rule("c", nft.counter(), label=f"rule {{number}}") for number in range({rules})]
    commit(kernel, [table.make(), table.inner_chain("c"), *added])
    print(len(read_rules(kernel, table)))
""")
    assert said == [str(rules)]


def test_after_more_refusals_than_the_socket_has_room_for_it_goes_on() -> None:
    """Until all is read that has come, the kernel drops all that follows."""
    said = in_network("""
table = Table(INET, "t")
with Conversation(NETFILTER) as kernel:
    wrong = [table.rule("missing", nft.drop()) for _ in range(3000)]
    print(errno_of(commit, kernel, [table.make(), *wrong]))
    commit(kernel, [table.make()])
    print(read_rules(kernel, table))
""")
    assert said == ["ENOENT", "{}"]


def test_a_process_without_the_right_is_told_so_at_once() -> None:
    said = in_network("""
clone.unshare(clone.CLONE_NEWUSER)  # its rights are over nothing
with Conversation(NETFILTER) as kernel:
    print(errno_of(commit, kernel, [Table(INET, "t").make()]))
""")
    assert said == ["EPERM"]


def test_the_counters_of_sets_and_rules_are_read_by_key_and_label() -> None:
    said = in_network("""
table = Table(BRIDGE, "t")
keys = [name_key([f"p{number}", "b"]) for number in range(1000)]
with Conversation(NETFILTER) as kernel:
    commit(kernel, [table.make(), table.counter_set("s", names=2), *table.add_elements("s", keys)])
    commit(kernel, [table.base_chain("c", FORWARD), table.rule("c", nft.counter(), label="seen"), table.rule("c", nft.drop())])
    print(read_set(kernel, table, "s") == dict.fromkeys(keys, Count()), read_rules(kernel, table) == {"seen": Count()})
    commit(kernel, table.delete_elements("s", keys[1:]))
    print(list(read_set(kernel, table, "s")) == keys[:1])
""")
    assert said == ["True True", "True"]


def test_a_qdisc_is_put_read_and_taken_away() -> None:
    said = in_network("""
loopback = socket.if_nametoindex("lo")
with Conversation(ROUTE) as kernel:
    kernel.ask(links.change_link(loopback, up=True))
    print(qdiscs.read(kernel, loopback).kind)
    qdiscs.put(kernel, loopback, "tbf", qdiscs.tbf_options(rate=125_000, burst=70_000, limit=82_500), handle=1 << 16)
    print(qdiscs.read(kernel, loopback).kind, qdiscs.read(kernel, loopback).handle >> 16)
    qdiscs.delete(kernel, loopback)
    print(qdiscs.read(kernel, loopback).kind)
""")
    assert said == ["noqueue", "tbf 1", "noqueue"]


def test_a_kernel_that_does_not_answer_is_not_waited_for_without_end() -> None:
    said = in_network("""
import struct
with Conversation(ROUTE) as kernel:
    kernel._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 1000))
    print(errno_of(kernel._read, {99}, 1))
""")
    assert said == ["ETIMEDOUT"]
