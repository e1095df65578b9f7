"""What may be written as `egress=`, and what it means."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxsandbox.egress import Allowance, allowances
from lxsandbox.errors import SpecError
from lxsandbox.spec import SandboxSpec

MEANT = {
    "pypi.org": Allowance(name="pypi.org"),
    "PyPI.org.": Allowance(name="pypi.org"),
    "example.org:443": Allowance(name="example.org", port=443),
    "*.example.org:443/tcp": Allowance(name="*.example.org", port=443),
    "_dns.example.org:53/udp": Allowance(name="_dns.example.org", port=53, protocol="udp"),
    "registry:5000": Allowance(name="registry", port=5000),
    "10.0.0.0/8": Allowance(network="10.0.0.0/8"),
    "10.1.2.3": Allowance(network="10.1.2.3/32"),
    "10.1.2.3:53/udp": Allowance(network="10.1.2.3/32", port=53, protocol="udp"),
    "10.0.0.0/8:443": Allowance(network="10.0.0.0/8", port=443),
    "0.0.0.0/0:443": Allowance(network="0.0.0.0/0", port=443),
    "2001:db8::/32": Allowance(network="2001:db8::/32"),
    "2001:db8::1": Allowance(network="2001:db8::1/128"),
    "[2001:db8::1]:53/udp": Allowance(network="2001:db8::1/128", port=53, protocol="udp"),
    "[2001:db8::]": Allowance(network="2001:db8::/128"),
}
BAD = [
    "http://example.org", "example.org/udp", "", "a b", "-a.org", "a..b", "*", "*.", "a.*.b", "exam ple.org", "ex\nample.org",
    "x" * 64 + ".org", "\u00e9.org", "example.org:", "example.org:0", "example.org:65536", "example.org:-1", "example.org:https",
    "example.org:1/sctp", "example.org:1/", "10.0.0.1/8", "10.0.0.0/33", "300.1.1.1", "1.2.3", "[::1", "[2001:db8::1]53",
    "[example.org]:1", ":443", "\u0661\u0660.0.0.1", "example.org:\u0664", "2001:db8::1:x", 5, None, b"example.org", ("a", 1),
    "a" * 1000,
]  # fmt: skip
LOOPBACK = ["localhost", "localhost:80", "x.localhost", "127.0.0.1", "127.0.0.0/8:80", "[::1]:80", "::1", "0.0.0.0", "::"]


def test_an_entry_is_read_as_it_is_meant() -> None:
    assert {entry: allowances([entry]) for entry in MEANT} == {entry: [meant] for entry, meant in MEANT.items()}


def refused_with(egress: object) -> SpecError | None:
    try:
        SandboxSpec(egress=egress)  # type: ignore[arg-type]
    except SpecError as error:
        return error
    return None


def test_another_one_is_refused_with_what_may_be_written() -> None:
    for entry in BAD:
        error = refused_with([entry])
        assert error is not None, entry
        assert "egress" in error.message
        assert error.hint


def test_loopback_is_refused_with_the_reason() -> None:
    for entry in LOOPBACK:
        error = refused_with([entry])
        assert error is not None, entry
        assert "loopback is each sandbox's own" in error.message


def test_it_is_true_false_or_a_list() -> None:
    for value in ("example.org", b"x", 1, None, {"a": 1}, 1.5, [["a"]]):
        assert refused_with(value) is not None, value


def test_a_list_has_a_bound() -> None:
    with pytest.raises(SpecError, match="1001 entries, 1000 at most"):
        SandboxSpec(egress=["example.org"] * 1001)


def test_with_the_hosts_network_there_is_nothing_to_allow() -> None:
    assert SandboxSpec(network="host", egress=True).egress is True
    with pytest.raises(SpecError, match='cannot be held with network="host"'):
        SandboxSpec(network="host", egress=["example.org"])


@given(st.text(max_size=40))
def test_whatever_is_written_is_read_or_refused(entry: str) -> None:
    try:
        (found,) = allowances([entry])
    except SpecError:
        return
    assert bool(found.name) != bool(found.network)
    assert found.port is None or 0 < found.port < 65536


def test_it_is_the_same_after_its_way_over_the_wire() -> None:
    for egress in (True, False, list(MEANT)):
        spec = SandboxSpec(egress=egress)
        assert SandboxSpec.from_json(json.loads(json.dumps(spec.as_json()))).egress == egress
