"""`lxsandbox ps`: the sandboxes that run now, of every run of this user."""

from __future__ import annotations

import os
import shlex
from typing import Any

import click

from lxsandbox.cli.output import age_of, json_option, print_json, print_table

__all__ = ["ps"]

_COLUMNS = ("ID", "NAME", "IMAGE", "STATE", "PID", "OWNER", "AGE", "MEMORY", "COMMAND", "RUN")


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
    texts = tuple(_text(facts.get(name)) for name in ("id", "name", "image", "state", "pid", "owner"))
    return (*texts, age_of(facts["created"]), _size(facts.get("memory_bytes")), _command(facts.get("command")), run)


def _text(value: Any) -> str:
    return "-" if value in (None, "") else str(value)


def _size(count: int | None) -> str:
    from lxsandbox.units import format_size

    return "-" if count is None else format_size(count)


def _command(command: list[str] | None) -> str:
    return shlex.join(command) if command else "-"
