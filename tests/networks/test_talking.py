"""Sandboxes in networks reach each other by name and address, and nobody else does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from needs import needs
from networks.conftest import Make, Open
from networks.talk import ask, interfaces, listen, look_up

from lxsandbox import Network, SandboxError
from lxsandbox.errors import SpecError

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp", "veth", "bridge")


def test_two_members_talk_over_tcp_by_name_and_by_both_addresses(make: Make, network: Network) -> None:
    server, client = make(networks=[network], name="server"), make(networks=[network], name="client")
    listen(server)
    ipv4, ipv6 = server.addresses[network.name]
    assert ipv6 is not None

    assert ask(client, "server").startswith("hello ")
    assert ask(client, ipv4) == f"hello ::ffff:{client.ip}"
    assert ask(client, ipv6) == f"hello {client.addresses[network.name][1]}"


def test_the_first_connection_does_not_wait(make: Make, network: Network) -> None:
    server, client = make(networks=[network], name="server"), make(networks=[network])
    listen(server)

    # A lost first packet is sent again after a second.
    assert all("hello" in ask(client, host, seconds=0.9) for host in (server.ip or "", server.addresses[network.name][1] or ""))


def test_who_is_no_member_neither_reaches_nor_resolves_one(make: Make, open_network: Open) -> None:
    front, back = open_network("front"), open_network("back")
    server, other, outsider = make(networks=[back], name="server"), make(networks=[front]), make()
    listen(server)

    assert look_up(other, "server") == set()
    assert outsider.run(["getent", "hosts", "server"]).returncode == 2  # not found: it has nobody to ask
    for box in (other, outsider):
        assert "hello" not in ask(box, str(server.ip), seconds=0.3)
    assert interfaces(outsider) == []


def test_a_name_resolves_at_once_for_members_that_come_later_and_only_while_they_are_there(make: Make, network: Network) -> None:
    first = make(networks=[network])
    assert look_up(first, "later") == set()

    later = make(networks=[network], name="later")

    assert look_up(first, "later") == {later.ip, later.addresses[network.name][1]}
    later.close()
    assert look_up(first, "later") == set()


def test_a_member_knows_itself_by_its_addresses(make: Make, network: Network) -> None:
    box = make(networks=[network], name="node", hostname="node1.example")

    assert look_up(box, "node") == look_up(box, "node1.example") == set(box.addresses[network.name])
    assert box.check_output(["hostname", "-f"]) == "node1.example\n"


def test_aliases_and_host_names_are_names_and_an_alias_may_be_shared(make: Make, network: Network) -> None:
    client = make(networks=[network])
    nodes = [make(networks=[network], hostname=f"node{n}", aliases=["cluster", f"n{n}.cluster"]) for n in range(3)]

    assert look_up(client, "cluster") == {address for node in nodes for address in node.addresses[network.name]}
    assert look_up(client, "NODE1") == look_up(client, "n1.cluster") == set(nodes[1].addresses[network.name])


def test_a_sandbox_in_several_networks_has_an_interface_in_each(make: Make, open_network: Open) -> None:
    front, back = open_network("front"), open_network("back")
    both = make(networks=[front, "back"], name="both")
    one, two = make(networks=["front"], name="one"), make(networks=[back], name="two")
    listen(both)

    assert interfaces(both) == ["eth0", "eth1"]
    assert list(both.addresses) == ["front", "back"]
    assert both.ip == both.addresses["front"][0]
    assert look_up(one, "both") == set(both.addresses["front"])
    assert look_up(two, "both") == set(both.addresses["back"])
    assert "hello" in ask(one, "both")
    assert "hello" in ask(two, "both")
    assert look_up(one, "two") == set()
    assert "hello" not in ask(one, str(two.ip), seconds=0.3)  # it forwards nothing


def test_each_member_may_have_the_same_port(make: Make, network: Network) -> None:
    servers = [make(networks=[network], name=f"server{n}") for n in range(5)]
    for number, server in enumerate(servers):
        listen(server, 8080, f"this is {number}")

    answers = [ask(servers[0], f"server{n}", 8080) for n in range(5)]

    assert [answer.rpartition(" ")[0] for answer in answers] == [f"this is {n}" for n in range(5)]


def test_two_members_of_one_name_are_refused_by_the_name_of_the_first(make: Make, open_network: Open) -> None:
    first = make(networks=[open_network("front"), "back"], name="db")

    with pytest.raises(SpecError, match=rf"back.*name db.*{first.id}"):
        make(networks=["back"], name="DB")
    make(networks=["other"], name="db")
    first.close()
    make(networks=["back"], name="db")


def test_a_name_of_a_network_that_is_taken_is_refused(open_network: Open) -> None:
    open_network("backend")

    with pytest.raises(SandboxError, match="a network backend already"):
        open_network("backend")


def test_a_network_that_was_closed_or_made_elsewhere_is_not_made_again_by_its_made_up_name(make: Make, network: Network) -> None:
    network.close()

    with pytest.raises(SandboxError, match=f"no network {network.name}"):
        make(networks=[network])


def test_members_of_a_network_that_ends_go_on_and_lose_their_interface(make: Make, open_network: Open) -> None:
    network, other = open_network(), open_network()
    box = make(networks=[network, other])
    network.close()

    assert interfaces(box) == ["eth1"]
    network.close()


def test_networks_show_their_members_and_subnets(make: Make, network: Network) -> None:
    box = make(networks=[network], name="one")

    assert network.members == {"one": box.addresses[network.name]}
    assert network.subnets == ("10.192.0.0/22", "fd6c:7873::/64")
    box.close()
    assert network.members == {}


def test_a_main_command_finds_its_network_there(make: Make, network: Network) -> None:
    other = make(networks=[network], name="other")
    box = make(networks=[network], command=["sh", "-c", "getent ahostsv4 other && exec sleep 1000"])
    main = box.main
    assert main is not None
    assert main.poll() is None
    listen(box)  # by now, what `getent` says is in the log

    assert str(other.ip) in box.logs()


def test_restart_and_pause_keep_addresses_and_names(make: Make, network: Network) -> None:
    box, client = make(networks=[network], name="server"), make(networks=[network])
    box.restart()
    listen(box)
    if box._control.connection.hello.cgroups != "none":
        box.pause()
        box.resume()

    assert "hello" in ask(client, "server")


def test_a_reset_keeps_addresses_and_names(make: Make, open_network: Open) -> None:
    front, back = open_network("front"), open_network("back")
    box, client = make(networks=[front, back], name="server", aliases=["db"]), make(networks=[back])
    listen(box)
    assert "hello" in ask(client, "db")
    before = box.addresses

    for _ in range(3):
        box.reset()
        listen(box, says="again")
        assert "again" in ask(client, "db", seconds=0.9)
        assert "again" in ask(client, before["back"][0], seconds=0.9)

    assert box.addresses == before
    assert interfaces(box) == ["eth0", "eth1"]


def test_a_fork_is_another_member(make: Make, network: Network) -> None:
    box = make(networks=[network], name="server", aliases=["db"])
    with box.fork() as forked:
        assert forked.ip != box.ip
        assert look_up(box, forked.name) == set(forked.addresses[network.name])
        assert look_up(box, "db") == {*box.addresses[network.name], *forked.addresses[network.name]}


@needs("ping")
def test_members_ping_each_other_at_once(make: Make, network: Network) -> None:
    box, _ = make(networks=[network]), make(networks=[network], name="other")
    box.run(["sh", "-c", "cp $(command -v ping) /tmp/ping"], check=True)  # without the capability that the file has

    for family in ("-4", "-6"):
        assert " 0% packet loss" in box.check_output(["/tmp/ping", family, "-c", "3", "-i", "0.01", "-W", "0.5", "other"])


@needs("id-range")
def test_who_may_ping_is_as_the_spec_says_where_it_does(make: Make, network: Network) -> None:
    strict = make(networks=[network], sysctls={"net.ipv4.ping_group_range": "5 5"})
    code = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)"

    assert "PermissionError" in strict.run(["python3", "-c", code]).stderr
    assert make(networks=[network]).run(["python3", "-c", code]).returncode == 0


def test_root_inside_cannot_change_its_addresses(make: Make, network: Network) -> None:
    box = make(networks=[network])
    code = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh22x', b'eth0', 0))"

    done = box.run(["python3", "-c", code])

    assert "PermissionError" in done.stderr


def test_a_sandbox_without_ipv6_is_a_member_by_ipv4(make: Make, network: Network) -> None:
    box = make(networks=[network], name="old", sysctls={"net.ipv6.conf.all.disable_ipv6": "1"})
    client = make(networks=[network])
    listen(box, over_ipv6=False)

    assert box.addresses[network.name] == (box.ip, None)
    assert look_up(client, "old") == {box.ip}
    assert ask(client, "old") == f"hello {client.ip}"


def test_a_read_only_sandbox_joins(make: Make, network: Network) -> None:
    box, other = make(networks=[network], read_only=True, name="box"), make(networks=[network], name="other")

    assert look_up(box, "other") == set(other.addresses[network.name])
    assert look_up(box, "box") == set(box.addresses[network.name])


def test_many_join_at_once(make: Make, network: Network) -> None:
    with ThreadPoolExecutor(8) as threads:
        boxes = list(threads.map(lambda n: make(networks=[network, "text"], name=f"b{n}"), range(16)))

    assert len({box.ip for box in boxes}) == 16
    assert set(network.members) == {f"b{n}" for n in range(16)}
    assert look_up(boxes[0], "b15") == {address for pair in boxes[15].addresses.values() for address in pair}
