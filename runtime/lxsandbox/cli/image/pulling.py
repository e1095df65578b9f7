"""`lxsandbox image pull`: fetch an image, or what has become of it since."""

from __future__ import annotations

import click

from lxsandbox.cli.image.stored import parse_here
from lxsandbox.cli.image.transferring import shown_progress
from lxsandbox.errors import ImageError
from lxsandbox.images.documents import Platform
from lxsandbox.images.library import NAMED, Library

__all__ = ["pull_image"]


def _platform(_context: click.Context, parameter: click.Parameter, text: str | None) -> Platform | None:
    match (text or "").split("/"):
        case [""]:
            return None
        case [system, architecture] if system and architecture:
            return Platform(os=system, architecture=architecture)
        case [system, architecture, variant] if system and architecture and variant:
            return Platform(os=system, architecture=architecture, variant=variant)
        case _:
            raise click.BadParameter(f"{text!r} is not OS/ARCH[/VARIANT]", param=parameter)


@click.command("pull", short_help="Fetch an image.")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", callback=_platform, help="For which machine; this one by default.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.argument("reference", metavar="NAME")
def pull_image(reference: str, platform: Platform | None, quiet: bool) -> None:
    """Fetch the image NAME, also when there is one of that name: it may be another one now. Prints the digest of its manifest.

    What is in the store already is not fetched again; what was interrupted goes on where it was.
    """
    library = Library(platform=platform)
    parsed = parse_here(library, reference)
    if parsed.transport not in NAMED:
        hint = f"`lxsandbox image import {reference} NAME` stores it; `lxsandbox run` takes it as it is"
        raise ImageError(f"image {parsed.familiar()} is here already, and not in a registry", hint=hint)
    with shown_progress(quiet=quiet) as progress, library.get(parsed, pull="always", progress=progress) as image:
        digest = image.descriptor.digest
    click.echo(digest)
