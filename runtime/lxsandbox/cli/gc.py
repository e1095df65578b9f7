"""`lxsandbox gc`: remove what runs left behind whose service was killed."""

from __future__ import annotations

import click

from lxsandbox.cli.output import json_option, print_json

__all__ = ["gc"]


@click.command(short_help="Remove what killed runs have left.")
@json_option
def gc(as_json: bool) -> None:
    """Remove the folders, scratch files and cgroups of every run of this user whose service has died."""
    from lxsandbox.service.leftovers import remove_dead_runs

    removed = remove_dead_runs()
    if as_json:
        print_json(removed)
        return
    for run in removed:
        click.echo(run)
    click.echo(f"removed: {len(removed)} run{'' if len(removed) == 1 else 's'}", err=True)
