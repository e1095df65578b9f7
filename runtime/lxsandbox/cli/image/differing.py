"""`lxsandbox image diff`: what differs between the files of two images."""

from __future__ import annotations

from dataclasses import asdict

import click

from lxsandbox.cli.image.stored import held
from lxsandbox.cli.output import json_option, print_json, printable
from lxsandbox.images.difference import differences
from lxsandbox.images.library import Library

__all__ = ["diff_images"]

_LETTERS = {"added": "A", "changed": "C", "removed": "D"}


@click.command("diff", short_help="Show which files differ between two images.")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@json_option
def diff_images(old: str, new: str, as_json: bool) -> None:
    """Show what was added (A), changed (C) and removed (D) from the image OLD to the image NEW, one path a line, sorted.

    A file is changed by its content, mode, owner, extended attributes, or time in whole seconds; a folder by what it is itself,
    and not by what is in it. With a removed folder goes all that was in it.

    An image over `host`, say a snapshot of a sandbox that had the host's files, can be compared with another one over `host`: by
    their layers alone, and where one of them has nothing, this host says whether there is something.

    --json prints a list of objects: kind (added, changed, removed) and path. Instead of a name, an image in a file can be given:
    `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE`.
    """
    library = Library()
    with (
        held(library, old) as one,
        held(library, new) as other,
        library.of(one.descriptor) as before,
        library.of(other.descriptor) as after,
    ):
        found = differences(library.store, before, after)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    for each in found:
        click.echo(f"{_LETTERS[each.kind]} {printable(each.path)}")
