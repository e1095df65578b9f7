"""`lxsandbox image tag`: another name for an image."""

from __future__ import annotations

import click

from lxsandbox.cli.image.stored import facts_of, held
from lxsandbox.cli.output import json_option, print_json
from lxsandbox.images.library import Library

__all__ = ["tag_image"]


@click.command("tag", short_help="Give an image another name.")
@json_option
@click.argument("source", metavar="SRC")
@click.argument("name", metavar="NAME")
def tag_image(source: str, name: str, as_json: bool) -> None:
    """Let NAME stand for the image SRC too, whatever it stood for before.

    --json prints an object: name, reference (with everything filled in), digest.
    """
    library = Library()
    target = library.new_name(name)
    with held(library, source) as image:
        library.store.tag(str(target), image.descriptor)
    if as_json:
        print_json(facts_of(str(target), image.descriptor.digest))
