"""`lxsandbox doctor`: each capability of this host, and for what is missing the one fix."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from lxsandbox.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from lxsandbox.host import Capability

__all__ = ["doctor"]


@click.command(short_help="Say what this host can do, and how to get what is missing.")
@json_option
def doctor(as_json: bool) -> int:
    """Try out what this host can do; exit with 1 when something that every sandbox needs is missing."""
    from lxsandbox.host import probe

    found = probe()
    missing = [capability for capability in found if capability.required and not capability.ok]
    if as_json:
        host = {"kernel": platform.release(), "uid": os.geteuid(), "python": platform.python_version()}
        print_json({"ok": not missing, **host, "capabilities": [capability.as_json() for capability in found]})
    else:
        _print_report(found)
    return 1 if missing else 0


def _print_report(found: Sequence[Capability]) -> None:
    user = "root" if os.geteuid() == 0 else f"uid {os.geteuid()}"
    click.echo(f"Linux {platform.release()}, Python {platform.python_version()}, as {user}\n")
    print_table(("CAPABILITY", "STATE", "WHAT WAS SEEN"), [(each.name, _state(each), each.detail) for each in found])
    lacks = [capability for capability in found if not capability.ok]
    if not lacks:
        click.echo("\nNothing is missing.")
    for fix, group in _by_fix(lacks).items():
        click.echo()
        for each in group:
            click.echo(f"{each.name}: {each.consequence}")
        click.echo(f"    fix: {fix}")


def _state(capability: Capability) -> str:
    if capability.ok:
        return "ok"
    return "missing" if capability.required else "limited"


def _by_fix(lacks: Sequence[Capability]) -> dict[str, list[Capability]]:
    """One cause may take many capabilities away: its fix is said once."""
    groups: dict[str, list[Capability]] = {}
    for capability in lacks:
        groups.setdefault(capability.fix, []).append(capability)
    return groups
