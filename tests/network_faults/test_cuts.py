"""What real processes see of links that are cut, and of links that are whole again."""

from __future__ import annotations

import pytest
from events import until
from network_faults.talking import Members, dropped, echo_connection, sends, udp

from lxsandbox import Sandbox


@pytest.mark.parametrize("cut", ["partition", "isolate"])
def test_a_connection_stalls_while_it_is_cut_and_goes_on_when_it_is_healed(members: Members, cut: str) -> None:
    network, a, b = members.network, members.a, members.b
    with echo_connection(a, b) as talk:
        assert talk.ask("before") == "before"

        fault = network.partition([a], [b]) if cut == "partition" else network.isolate(a)
        talk.say("meanwhile")
        until(lambda: fault.dropped_packets >= 2, "what is sent, and sent again, is dropped")
        assert talk.silent
        fault.heal()

        assert talk.hear() == "meanwhile"
        assert talk.ask("after") == "after"


def test_others_go_on_while_two_are_cut_from_each_other(members: Members) -> None:
    network, a, b, c = members.network, members.a, members.b, members.c
    with network.partition(a, b), echo_connection(c, b) as one, echo_connection(a, c) as other:
        assert (one.ask("x"), other.ask("y")) == ("x", "y")


def test_a_cut_one_way_lets_pass_what_goes_the_other_way(members: Members) -> None:
    a, b = members.a, members.b
    with udp(a, b) as (at_a, at_b), members.network.partition(a, b, one_way=True) as fault:
        before = at_b.ask("count")
        at_a.ask(f"send {b.ip} 5")

        until(lambda: dropped(fault, "a", "b") >= 5, "all are dropped")
        assert at_b.ask("count") == before
        assert sends(at_b, a, at_a) == 1
        assert [(link.start, link.end) for link in fault.links] == [("a", "b")]


def test_several_are_cut_from_several_and_not_among_themselves(members: Members) -> None:
    a, b, c = members.a, members.b, members.c
    with udp(a, b, c) as (at_a, at_b, at_c), members.network.partition([a, b], [c]) as fault:
        at_a.ask(f"send {c.ip} 1")
        at_c.ask(f"send {b.ip} 1")

        until(lambda: dropped(fault, "a", "c") and dropped(fault, "c", "b"), "both are dropped")
        assert sends(at_a, b, at_b) == 1


def test_who_is_isolated_is_cut_from_members_that_come_later_too(members: Members) -> None:
    a, network = members.a, members.network
    with network.isolate(a) as fault, Sandbox(connection=members.connection, networks=[network], name="late") as late:
        # To resolve an address is a broadcast, and does not get through either.
        late.run(["python3", "-c", f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ({a.ip!r}, 9))"])

        until(lambda: dropped(fault, None, "a"), "it is dropped")


def test_faults_add_up_and_one_is_healed_without_the_other(members: Members) -> None:
    network, a, b = members.network, members.a, members.b
    with echo_connection(a, b) as talk, network.isolate(b) as other:
        with network.partition(a, b) as one:
            talk.say("x")
            until(lambda: one.dropped_packets + other.dropped_packets, "it is dropped")
        until(lambda: other.dropped_packets >= 2, "it is dropped by the other one")
        assert talk.silent
        network.heal()
        assert talk.hear() == "x"


def test_a_paused_member_is_silent_and_answers_later_and_can_be_cut_meanwhile(members: Members) -> None:
    network, a, b = members.network, members.a, members.b
    with echo_connection(a, b) as talk:
        b.pause()
        try:
            talk.say("x")
            with network.partition(a, b) as fault:  # its canaries need nobody in there
                assert "cut" in repr(fault)
            assert talk.silent
        finally:
            b.resume()
        assert talk.hear() == "x"


def test_a_killed_member_ends_its_connections_and_what_concerned_it_goes(members: Members) -> None:
    network, a = members.network, members.a
    with Sandbox(connection=members.connection, networks=[network], name="victim") as victim:
        fault = network.partition(a, victim)
        fault.heal()
        with echo_connection(a, victim) as talk:
            other = network.partition([a, victim], [members.c])
            assert {(link.start, link.end) for link in other.links} == {("a", "c"), ("c", "a"), ("victim", "c"), ("c", "victim")}

            victim.kill()

            assert talk.ask("x") == "ended"
            until(lambda: {(link.start, link.end) for link in other.links} == {("a", "c"), ("c", "a")}, "its links are gone")


def test_a_reset_member_is_still_cut_and_so_is_its_line_after_that(members: Members) -> None:
    network, b = members.network, members.b
    with Sandbox(connection=members.connection, networks=[network], name="line") as box, network.partition(box, b) as fault:
        box.reset()

        box.run(["python3", "-c", f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ({b.ip!r}, 9))"])
        until(lambda: dropped(fault, "line", "b"), "it is dropped")
        fault.heal()
        network.isolate(box).heal()
        with echo_connection(box, b) as talk:
            assert talk.ask("x") == "x"


def test_a_restarted_member_has_its_faults_and_its_peers_a_broken_connection(members: Members) -> None:
    network, a = members.network, members.a
    with (
        Sandbox(connection=members.connection, networks=[network], name="node", command=["sleep", "inf"]) as node,
        echo_connection(a, node) as talk,
    ):
        node.restart()
        assert talk.ask("x") == "ended"
        with network.isolate(node) as fault:
            node.restart()
            assert [link.start for link in fault.links] == ["node", None]
