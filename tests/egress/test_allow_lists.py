"""What is on the list is reached, the rest is refused at once. Names are asked of the host's resolvers, if they may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from egress.outside import Resolver, Server, attempt, serve
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs", "egress")

Make = Callable[..., Sandbox]
AT_ONCE_SECONDS = 2.0


@pytest.fixture
def asking(names: Resolver, connection: ServiceConnection) -> Iterator[Make]:
    """Sandboxes of a run whose host asks `names`."""
    made: list[Sandbox] = []

    def make(**fields: object) -> Sandbox:
        made.append(Sandbox(connection=connection, **fields))
        return made[-1]

    yield make
    for box in made:
        box.close()


def refused(box: Sandbox, host: str, port: int, kind: str = "tcp") -> str:
    said, seconds = attempt(box, host, port, kind)
    assert said != "HELLO"
    assert seconds < AT_ONCE_SECONDS
    return said


def test_one_port_is_reached_and_another_refused_at_once(make_sandbox: Make, server: Server, host: str) -> None:
    with serve(host) as other:
        box = make_sandbox(egress=[f"{host}:{server.port}"])

        assert attempt(box, host, server.port)[0] == "HELLO"
        assert "ConnectionRefusedError" in refused(box, host, other.port)
        assert other.asked == []


def test_a_port_of_tcp_is_not_one_of_udp(make_sandbox: Make, host: str) -> None:
    with serve(host, "udp") as over_udp:
        assert "OSError" in refused(make_sandbox(egress=[f"{host}:{over_udp.port}"]), host, over_udp.port, "udp")
        assert attempt(make_sandbox(egress=[f"{host}:{over_udp.port}/udp"]), host, over_udp.port, "udp")[0] == "HELLO"


def test_a_network_is_all_of_its_addresses(make_sandbox: Make, server: Server, host: str) -> None:
    network = host.rpartition(".")[0] + ".0/24"

    assert attempt(make_sandbox(egress=[network]), host, server.port)[0] == "HELLO"
    refused(make_sandbox(egress=["203.0.113.0/24", f"{network}:{server.port}/udp"]), host, server.port)


def test_the_list_of_one_is_not_that_of_another(make_sandbox: Make, server: Server, host: str) -> None:
    make_sandbox(egress=[host])

    refused(make_sandbox(egress=["203.0.113.1"]), host, server.port)


def test_a_name_is_let_through_when_it_is_answered(asking: Make, names: Resolver, server: Server, host: str) -> None:
    names.addresses["www.example.test"] = ["203.0.113.9", host]
    box = asking(egress=[f"www.example.test:{server.port}"])

    refused(box, host, server.port)  # nobody has asked yet
    box.run(["/usr/bin/python3", "-I", "-S", "-c", "import socket; socket.getaddrinfo('www.example.test', 80)"], check=True)
    assert attempt(box, host, server.port)[0] == "HELLO"

    with serve(host) as other:
        refused(box, host, other.port)


def test_an_address_that_has_changed_is_let_through_too(asking: Make, names: Resolver, server: Server, host: str) -> None:
    names.addresses["moving.example.test"] = ["203.0.113.9"]
    box = asking(egress=["*.example.test"])
    box.run(["getent", "ahostsv4", "moving.example.test"], check=True)
    refused(box, host, server.port)

    names.addresses["moving.example.test"] = [host]

    assert attempt(box, "moving.example.test", server.port)[0] == "HELLO"


def test_a_name_that_is_not_listed_is_unknown_and_not_asked_for(asking: Make, names: Resolver, server: Server, host: str) -> None:
    names.addresses |= {"other.test": [host], "example.test": [host], "badexample.test": [host]}
    box = asking(egress=["*.example.test", host])

    for name in ("other.test", "example.test", "badexample.test"):
        assert "gaierror" in refused(box, name, server.port)

    assert names.asked == []


def test_all_names_are_asked_for_with_egress_and_none_without(asking: Make, names: Resolver, server: Server, host: str) -> None:
    names.addresses["any.test"] = [host]

    assert "gaierror" in refused(asking(), "any.test", server.port)
    assert "gaierror" in refused(asking(networks=["inner"]), "any.test", server.port)
    assert names.asked == []

    assert attempt(asking(egress=True), "any.test", server.port)[0] == "HELLO"
    assert set(names.asked) == {"any.test"}


def test_a_name_that_nobody_knows_is_unknown(asking: Make) -> None:
    assert "gaierror" in refused(asking(egress=True), "nowhere.test", 80)


def test_members_of_a_network_come_before_names_outside(asking: Make, names: Resolver, server: Server, host: str) -> None:
    names.addresses["db"] = ["203.0.113.9"]
    asking(networks=["inner"], name="db")
    box = asking(networks=["inner"], egress=True)

    found = box.check_output(["getent", "ahostsv4", "db"])

    assert "203.0.113.9" not in found
    assert found.startswith("10.")
    assert names.asked == []


def test_long_answers_are_cut_to_what_fits(asking: Make, names: Resolver) -> None:
    names.addresses["many.test"] = [f"203.0.113.{number}" for number in range(1, 101)]
    box = asking(egress=True)

    lookup = "import socket; print(len({each[4][0] for each in socket.getaddrinfo('many.test', 80, socket.AF_INET)}))"

    assert int(box.check_output(["/usr/bin/python3", "-I", "-S", "-c", lookup])) >= 25


def test_a_list_may_be_long(make_sandbox: Make, server: Server, host: str) -> None:
    others = [f"203.0.{index // 250}.{index % 250}:80" for index in range(999)]
    box = make_sandbox(egress=[*others, f"{host}:{server.port}"])

    assert attempt(box, host, server.port)[0] == "HELLO"
    refused(box, "203.1.0.1", 80)
