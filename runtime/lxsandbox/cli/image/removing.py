"""`lxsandbox image rm`: let names go, and what only they reached."""

from __future__ import annotations

import click

from lxsandbox.cli.image.room import make_room, pruned_as_json
from lxsandbox.cli.image.stored import find_name, parse_here, shown_name
from lxsandbox.cli.output import json_option, print_json
from lxsandbox.images.library import Library
from lxsandbox.units import format_size

__all__ = ["remove_images"]


@click.command("rm", short_help="Remove images.")
@json_option
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def remove_images(names: tuple[str, ...], as_json: bool) -> None:
    """Remove the images of these names, and as `prune` does whatever no name reaches then.

    What another name reaches stays. What a run uses stays until the next `rm` or `prune` after it. When one of the NAMEs is not
    there, nothing is removed.

    --json prints an object as `prune` does: names, blobs, layers and bytes.
    """
    library = Library()
    found = [find_name(library.store, parse_here(library, name), name)[0] for name in names]
    gone = [shown_name(name) for name in dict.fromkeys(found) if library.store.untag(name)]
    if not as_json:
        for name in gone:
            click.echo(name)
    pruned = make_room()
    if as_json:
        print_json(pruned_as_json(pruned, gone))
    else:
        click.echo(f"freed: {format_size(pruned.bytes)}", err=True)
