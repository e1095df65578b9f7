"""`lxsandbox image prune`: make room."""

from __future__ import annotations

import click

from lxsandbox.cli.image.room import make_room, pruned_as_json
from lxsandbox.cli.image.stored import shown_name
from lxsandbox.cli.output import json_option, print_json
from lxsandbox.images.store import Pruned
from lxsandbox.units import format_size, parse_size

__all__ = ["prune_images"]


@click.command("prune", short_help="Remove what no image needs, or images as well.")
@click.option("--all", "every", is_flag=True, help="Remove every image that no run uses.")
@click.option("--at-most", metavar="SIZE", help="Remove images, least recently used first, until no more than this is left.")
@json_option
def prune_images(every: bool, at_most: str | None, as_json: bool) -> None:
    """Remove what belongs to no named image and what killed runs have left; what a run uses stays. Prints the names that went.

    --json prints an object: names, blobs (their digests), layers (IDS/DIGEST), each a list of what was removed, and bytes, which
    this freed.
    """
    if every and at_most is not None:
        raise click.UsageError("--all leaves nothing that --at-most could keep")
    pruned = make_room(every=every, at_most_bytes=None if at_most is None else parse_size(at_most, what="at-most"))
    names = [shown_name(name) for name in pruned.names]
    if as_json:
        print_json(pruned_as_json(pruned, names))
        return
    for name in names:
        click.echo(name)
    click.echo(f"removed: {_counts(pruned)}; freed: {format_size(pruned.bytes)}", err=True)


def _counts(pruned: Pruned) -> str:
    counts = {"name": len(pruned.names), "blob": len(pruned.blobs), "layer": len(pruned.layers)}
    return ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items())
