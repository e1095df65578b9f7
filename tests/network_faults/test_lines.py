"""Lines that lose packets and are slow; and what is refused, by name and before anything is done."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from network_faults.talking import Members, dropped, echo_connection, sends, udp

from lxsandbox import HostUnsupported, Sandbox, SandboxError
from lxsandbox.errors import SpecError
from lxsandbox.host import probe

PACKETS = 1000
# Of packets that are lost with 3 in 10; beyond six standard deviations once in 500 million runs.
MOST_OFF = 6 * math.sqrt(PACKETS * 0.3 * 0.7)

# Says how many seconds a number of bytes took from the first to the last.
TAKE = """
import socket, sys, time
server = socket.create_server(("", 8))
print("listens", flush=True)
peer, _ = server.accept()
begun, count = None, 0
while data := peer.recv(1 << 20):
    begun = begun or time.monotonic()
    count += len(data)
print(count, time.monotonic() - begun)
"""
GIVE = """
import socket, sys
with socket.create_connection((sys.argv[1], 8)) as peer:
    peer.sendall(bytes(int(sys.argv[2])))
"""


@pytest.mark.parametrize("end", ["sender", "receiver", "link"])
def test_three_of_ten_packets_are_lost(members: Members, end: str) -> None:
    a, b, network = members.a, members.b, members.network
    with udp(a, b) as (at_a, at_b):
        of = {"sender": (a, "out", None), "receiver": (b, "in", None), "link": (a, "out", b)}
        line, direction, peer = of[end]
        fault = network.shape(line, loss=0.3, direction=direction, peer=peer)
        arrived = sum(sends(at_a, b, at_b, PACKETS // 10) for _ in range(10))

        assert abs(arrived - 0.7 * PACKETS) <= MOST_OFF
        start, finish = {"sender": ("a", None), "receiver": (None, "b"), "link": ("a", "b")}[end]
        assert PACKETS - arrived <= dropped(fault, start, finish) <= PACKETS - arrived + 2  # an address may have been asked for
        fault.heal()
        assert sends(at_a, b, at_b, 100) == 100


def test_a_loss_with_one_peer_is_no_loss_with_another(members: Members) -> None:
    a, b, c = members.a, members.b, members.c
    with udp(a, b, c) as (at_a, _, at_c), members.network.shape(a, peer=b, loss="100%"):
        assert sends(at_a, c, at_c, 100) == 100


@pytest.mark.parametrize("direction", ["out", "in"])
def test_a_rate_bounds_the_bytes_a_second(members: Members, direction: str) -> None:
    a, b = members.a, members.b
    rate, size, burst = 4 << 20, 2 << 20, 65_550
    with members.network.shape(a if direction == "out" else b, rate=rate, direction=direction) as fault:
        taking = b.popen(["python3", "-c", TAKE])
        with taking:
            assert taking.stdout is not None
            assert taking.stdout.readline() == "listens\n"
            a.run(["python3", "-c", GIVE, str(b.ip), str(size)], check=True)
            count, seconds = taking.stdout.readline().split()

        assert int(count) == size
        # From the first byte on; what is in the bucket comes at once. Never faster, whatever else the machine does.
        assert float(seconds) >= 0.8 * (size - 2 * burst) / rate
        assert fault.links[0].held_packets > 0


def test_a_line_that_is_slow_and_loses_packets_does_both_each_way(members: Members) -> None:
    with members.network.shape(members.a, rate="100mbit", loss="10%") as fault:
        ends = [(link.start, link.end, link.dropped_packets) for link in fault.links]
        assert ends == [("a", None, 0), (None, "a", 0), ("a", None, 0), (None, "a", 0)]
        with echo_connection(members.a, members.b) as talk:
            assert talk.ask("x") == "x"


@pytest.mark.parametrize(
    "asked", [{"delay": "20ms"}, {"jitter": 0.001, "rate": 10**6}, {"corrupt": 0.1, "loss": 0.1}, {"duplicate": 0.5}]
)
def test_what_needs_netem_is_there_or_refused_by_name_with_nothing_done(members: Members, asked: dict[str, Any]) -> None:
    (netem,) = probe(["netem"])
    if netem.ok:
        with members.network.shape(members.a, **asked), echo_connection(members.a, members.b) as talk:
            begun = time.monotonic()
            assert talk.ask("x") == "x"
            assert time.monotonic() - begun >= (0.04 if "delay" in asked else 0)
    else:
        with pytest.raises(HostUnsupported, match="need netem") as refused:
            members.network.shape(members.a, **asked)
        assert refused.value.capability == "netem"
        assert "sch_netem" in refused.value.hint
        assert members.network.fault_counts() == []


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "nothing"),
    "nothing at all": ({"loss": 0, "rate": None}, "nothing"),
    "a share of more than one": ({"loss": 1.5}, "loss=1.5"),
    "text that is no share": ({"corrupt": "5"}, "corrupt='5'"),
    "a share too small to be proven": ({"loss": "0.001%"}, "too little"),
    "a truth": ({"loss": True}, "loss=True"),
    "a negative delay": ({"delay": -1}, "delay=-1"),
    "a delay beyond what the kernel counts": ({"delay": "5m"}, "too long"),
    "a delay in no unit": ({"delay": "5 parsecs"}, "parsecs"),
    "a rate that is none": ({"rate": "fast"}, "rate='fast'"),
    "hardly a rate": ({"rate": 10}, "too little"),
    "to reorder what is not delayed": ({"reorder": 0.1}, "needs delay="),
    "an unknown direction": ({"loss": 0.1, "direction": "up"}, "direction='up'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_values_that_make_no_sense_are_refused_at_once(members: Members, case: str) -> None:
    asked, said = WRONG[case]
    with pytest.raises(SpecError) as refused:
        members.network.shape(members.a, **asked)
    assert said in refused.value.message
    assert refused.value.hint


def test_a_rate_of_one_link_and_a_line_to_itself_are_refused(members: Members) -> None:
    a, b, network = members.a, members.b, members.network
    with pytest.raises(SpecError, match="peer="):
        network.shape(a, peer=b, rate="1M")
    with pytest.raises(SpecError, match="itself"):
        network.shape(a, peer=a, loss=0.5)


def test_a_line_is_shaped_once_until_that_is_healed(members: Members) -> None:
    a, network = members.a, members.network
    first = network.shape(a, loss=0.5, direction="out")
    with pytest.raises(SpecError, match="already"):
        network.shape(a, rate="1M")
    network.shape(a, loss=0.5, direction="in").heal()
    first.heal()
    network.shape(a, rate="1M").heal()


def test_members_are_sandboxes_of_this_network_and_each_on_one_side(members: Members) -> None:
    a, b, network = members.a, members.b, members.network
    for nobody in ([], None, "a", [a, "b"], 7):
        with pytest.raises(SpecError, match="is not a sandbox"):
            network.isolate(nobody)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="both sides"):
        network.partition([a, b], [b])
    stranger = Sandbox(connection=members.connection, name="stranger")
    with stranger, pytest.raises(SpecError, match="not a member") as refused:
        network.partition(a, stranger)
    assert refused.value.hint == "its members are: a, b, c"
    assert network.fault_counts() == []


def test_a_fault_says_what_it_is(members: Members) -> None:
    a, b, c, network = members.a, members.b, members.c, members.network
    fault = network.partition([a, b], c, one_way=True)
    assert repr(fault) == f"<Fault of {network.name}: a, b to c cut>"
    fault.heal()
    fault.heal()
    assert repr(fault) == f"<Fault of {network.name}: a, b to c cut, healed>"
    assert repr(network.shape(a, loss="5%", peer=b)) == f"<Fault of {network.name}: a with b both: loss 5%>"
    assert fault.links == []


def test_a_member_that_took_its_own_interface_away_is_told_of_and_others_go_on(members: Members) -> None:
    network = members.network
    with Sandbox(connection=members.connection, networks=[network], name="rogue", capabilities=["NET_ADMIN"]) as rogue:
        fault = network.shape(rogue, rate="1M", loss=0.5)
        rogue.run(["ip", "link", "delete", "eth0"], check=True)

        with pytest.raises(SandboxError, match="partition is not possible: No such device"):
            network.partition(rogue, members.b)
        assert [(link.start, link.held_packets) for link in fault.links][-2:] == [("rogue", 0), (None, 0)]
        with network.isolate(members.a):
            fault.heal()
    with echo_connection(members.a, members.b) as talk:
        assert talk.ask("x") == "x"
