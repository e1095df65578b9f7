"""The pool of addresses, without a kernel."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

from hypothesis import given
from hypothesis import strategies as st

from lxsandbox.service.addresses import HOSTS, NETWORKS, Free, Subnet


@given(st.integers(0, NETWORKS - 1), st.sampled_from([HOSTS[0], HOSTS[1], HOSTS[700], HOSTS[-1]]))
def test_an_address_lies_in_its_network_and_is_written_as_everybody_writes_it(number: int, host: int) -> None:
    subnet = Subnet(number)
    ipv4, ipv6 = (kind(text) for kind, text in zip((IPv4Network, IPv6Network), subnet.as_text(), strict=True))

    assert ipv4.subnet_of(IPv4Network("10.192.0.0/10"))  # type: ignore[arg-type]
    for text, network in ((subnet.ipv4(host), ipv4), (subnet.ipv6(host), ipv6)):
        assert ip_address(text) in network
        assert str(ip_address(text)) == text
    assert ip_address(subnet.ipv4(host)) not in (ipv4.network_address, ipv4.broadcast_address, ip_address(subnet.hub["ipv4"]))


def test_no_two_places_have_an_address_or_a_mac_in_common() -> None:
    places = [(Subnet(number), host) for number in (0, 1, 255, 256, NETWORKS - 1) for host in HOSTS]

    assert len({subnet.ipv4(host) for subnet, host in places}) == len(places)
    assert len({subnet.ipv6(host) for subnet, host in places}) == len(places)
    assert len({subnet.mac(host) for subnet, host in places}) == len(places)


def test_a_mac_is_one_of_a_single_interface_that_nobody_was_given_by_the_ieee() -> None:
    first = int(Subnet(9).mac(5).partition(":")[0], 16)

    assert first & 0b11 == 0b10


def test_a_network_has_room_for_1021_members() -> None:
    free = Free(HOSTS)

    assert len({free.take() for _ in range(1021)}) == 1021
    assert free.take() is None


def test_what_was_given_back_is_taken_again_only_when_all_others_were() -> None:
    free = Free(range(5))
    assert [free.take() for _ in range(3)] == [0, 1, 2]
    free.give_back(0)
    free.give_back(1)

    assert [free.take() for _ in range(4)] == [3, 4, 0, 1]
    assert free.take() is None
    free.give_back(2)
    assert free.take() == 2


@given(st.lists(st.booleans(), max_size=60))
def test_none_is_taken_twice(takes: list[bool]) -> None:
    free, taken = Free(range(8)), list[int]()
    for take in takes:
        if take:
            number = free.take()
            assert (number is None) == (len(taken) == 8)
            assert number not in taken
            taken += [] if number is None else [number]
        elif taken:
            free.give_back(taken.pop(0))
