"""`lxsandbox image tag`: another name for an image."""

from __future__ import annotations

import click

from lxsandbox.cli.image.stored import held
from lxsandbox.images.library import Library

__all__ = ["tag_image"]


@click.command("tag", short_help="Give an image another name.")
@click.argument("source", metavar="SRC")
@click.argument("name", metavar="NAME")
def tag_image(source: str, name: str) -> None:
    """Let NAME stand for the image SRC too, whatever it stood for before."""
    library = Library()
    target = library.new_name(name)
    with held(library, source) as image:
        library.store.tag(str(target), image.descriptor)
