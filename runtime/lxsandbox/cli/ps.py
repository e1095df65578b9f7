"""`lxsandbox ps`: the sandboxes that run now, of every run of this user."""

from __future__ import annotations

import os
import shlex
from typing import Any

import click

from lxsandbox.cli.output import age_of, json_option, print_json, print_table

__all__ = ["ps"]

_COLUMNS = ("ID", "NAME", "IMAGE", "STATE", "PID", "OWNER", "AGE", "MEMORY", "NETWORKS", "PORTS", "COMMAND", "RUN")


@click.command(short_help="List the sandboxes that run now.")
@json_option
def ps(as_json: bool) -> None:
    """List the sandboxes that run now, of every run of this user."""
    from lxsandbox.cli.runs import running_sandboxes

    running = running_sandboxes()
    if as_json:
        print_json([{**each.facts, "run": each.folder} for each in running])
    else:
        print_table(_COLUMNS, [_row(each.facts, os.path.basename(each.folder)) for each in running])


def _row(facts: dict[str, Any], run: str) -> tuple[str, ...]:
    texts = [_text(facts.get(name)) for name in ("id", "name", "image")]
    texts += [_state(facts), _text(facts.get("pid")), _text(facts.get("owner"))]
    texts += [age_of(facts["created"]), _size(facts.get("memory_bytes"))]
    return (*texts, _networks(facts.get("networks")), _ports(facts.get("ports")), _command(facts.get("command")), run)


def _state(facts: dict[str, Any]) -> str:
    restarts = facts.get("restarts")
    return f"{facts['state']} ({restarts} restart{'s' * (restarts != 1)})" if restarts else str(facts["state"])


def _networks(networks: dict[str, list[str]] | None) -> str:
    """The name of each and the address on it; the first address alone, `--json` has all."""
    return ", ".join(f"{name}={next(iter(addresses), '')}" for name, addresses in (networks or {}).items()) or "-"


def _ports(ports: dict[str, int] | None) -> str:
    """As container tools write it."""
    return ", ".join(f"127.0.0.1:{port}->{target}" for target, port in (ports or {}).items()) or "-"


def _text(value: Any) -> str:
    return "-" if value in (None, "") else str(value)


def _size(count: int | None) -> str:
    from lxsandbox.units import format_size

    return "-" if count is None else format_size(count)


def _command(command: list[str] | None) -> str:
    return shlex.join(command) if command else "-"
