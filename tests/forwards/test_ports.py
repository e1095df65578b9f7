"""How ports are written, in a spec and on the command line, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from lxsandbox import SandboxSpec
from lxsandbox.errors import SpecError
from lxsandbox.ports import Target, parse_ports, parse_target, target_of


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({}, {}),
        ([], {}),
        ({8080: 80}, {"8080/tcp": 80}),
        ({"8080": None}, {"8080/tcp": None}),
        ({"53/udp": 5353, 53: 5353}, {"53/udp": 5353, "53/tcp": 5353}),
        ([80, "53/udp"], {"80/tcp": None, "53/udp": None}),
        ({"/run/it.sock": 9000}, {"/run/it.sock": 9000}),
    ],
)
def test_ports_are_a_mapping_or_a_list(written: Any, meant: dict[str, int | None]) -> None:
    assert parse_ports(written) == meant
    assert parse_ports(parse_ports(written)) == meant


@pytest.mark.parametrize(
    "written",
    [
        "8080", 8080, None, {0: None}, {70000: None}, {True: None}, {"x": None}, {"80/sctp": None}, {"80/": None}, {"٨٠": None},
        {80: 0}, {80: 70000}, {80: True}, {80: "80"}, {80: 1.5}, {80: 1, 81: 1}, {"/a\0b": 1}, {"": None}, {"/a/udp\0": None},
        [80, 80], [80, "80/tcp"], {53: None, "53/tcp": 5353}, [None], [[80]], [b"80"], {"-1": None}, {"99999": None}, {1.5: None},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(written: Any) -> None:
    with pytest.raises(SpecError):
        SandboxSpec(ports=written)


@pytest.mark.parametrize("port", [0, 70000, -1, True, "x", "80", None, 1.5, b"80", "/" + "x" * 5000, "/a\0b"])
def test_what_is_no_port_has_no_address(port: Any) -> None:
    with pytest.raises(SpecError):
        target_of(port)


def test_a_protocol_is_tcp_or_udp_and_a_unix_socket_has_none() -> None:
    protocol: Any
    for port, protocol in ((80, "sctp"), (80, None), ("/run/it.sock", "udp")):
        with pytest.raises(SpecError):
            target_of(port, protocol)


def test_a_target_is_read_as_it_is_written() -> None:
    for target in (Target(port=80), Target(port=53, protocol="udp"), Target(path="/run/53/udp")):
        assert parse_target(str(target)) == target


def test_ports_survive_the_wire() -> None:
    spec = SandboxSpec(ports={8080: 80, "53/udp": None})

    assert SandboxSpec.from_json(spec.as_json()).ports == {"8080/tcp": 80, "53/udp": None}


def test_the_hosts_network_has_the_hosts_ports() -> None:
    with pytest.raises(SpecError, match="network='host'"):
        SandboxSpec(network="host", ports={80: 80})
