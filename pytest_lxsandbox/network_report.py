"""What the report of a failed test says of networks: where its sandboxes are reached, who is in a network, and its faults."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lxsandbox.errors import SandboxError
from pytest_lxsandbox.keys import RUN

if TYPE_CHECKING:
    import pytest

    from lxsandbox.sandbox.sandbox import Sandbox

__all__ = ["known_ports", "network_sections", "reach_lines"]

_COUNTS = {
    "dropped_packets": "packets dropped",
    "dropped_bytes": "bytes dropped",
    "passed_packets": "packets passed",
    "held_packets": "packets held",
    "waiting_packets": "packets waiting",
}


def known_ports(config: pytest.Config) -> dict[str, dict[str, int]]:
    """By the ids of the sandboxes that live: what of them is reached at which port of this host."""
    return {each["id"]: each.get("ports") or {} for each in _asked(config, "list").get("sandboxes", ())}


def reach_lines(sandbox: Sandbox, ports: dict[str, int]) -> list[str]:
    """Its addresses on its networks, and the ports of this host that lead to it."""
    networks = [f"{name}={_pair(pair)}" for name, pair in sandbox.addresses.items()]
    forwards = [f"127.0.0.1:{port}->{target}" for target, port in ports.items()]
    lines = {"networks": ", ".join(networks), "ports": ", ".join(forwards)}
    return [f"{name}: {text}" for name, text in lines.items() if text]


def network_sections(config: pytest.Config, sandboxes: Iterable[Sandbox]) -> list[tuple[str, str]]:
    """A section `network NAME` for each that one of these has joined: its members, and its faults with what they have done."""
    names = dict.fromkeys(name for sandbox in sandboxes for name in sandbox.addresses)
    return [(f"network {name}", "\n".join(_network_lines(config, name))) for name in names]


def _network_lines(config: pytest.Config, network: str) -> list[str]:
    members: dict[str, Any] = _asked(config, "network_members", network=network).get("members", {})
    told = [f"{name}={_pair(pair)}" for name, pair in members.items() if pair is not None]
    lines = [f"members: {', '.join(told) or 'none any more'}"]
    for fault in _asked(config, "network_faults", network=network).get("faults", ()):
        lines += [f"{fault['kind']}:", *(f"  {_link(link)}" for link in fault["links"])]
    return lines if len(lines) > 1 else [*lines, "faults: none"]


def _link(link: dict[str, Any]) -> str:
    counts = [f"{link[name]} {what}" for name, what in _COUNTS.items() if name in link]
    queue = f" ({link['queue']})" if "queue" in link else ""
    return f"{link['from'] or 'any'} -> {link['to'] or 'any'}{queue}: {', '.join(counts)}"


def _pair(pair: Iterable[str | None]) -> str:
    return " ".join(address for address in pair if address is not None)


def _asked(config: pytest.Config, op: str, **fields: Any) -> dict[str, Any]:
    """The answer, or nothing where there is none: a report shows what can be known, and fails no test."""
    run = config.stash.get(RUN, None)
    try:
        return {} if run is None else run.ask(op, **fields)
    except SandboxError:
        return {}
