"""`lxsandbox image import`: an image, or a root file system, from a file or folder into the store."""

from __future__ import annotations

import os

import click

from lxsandbox.cli.image.stored import facts_of, parse_here
from lxsandbox.cli.output import json_option, print_json
from lxsandbox.cli.waiting import slow_notice
from lxsandbox.errors import ImageError
from lxsandbox.images.library import NAMED, Library
from lxsandbox.images.references import PathReference, Reference

__all__ = ["import_image"]


@click.command("import", short_help="Store an image, or a root file system, from a file or folder.")
@json_option
@click.argument("source", metavar="FILE|DIR|REF")
@click.argument("name", metavar="NAME")
def import_image(source: str, name: str, as_json: bool) -> None:
    """Store the root file system in the tar FILE or the folder DIR as image NAME. Prints the digest of its manifest.

    An image is read from REF: `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]` or `docker-archive:FILE[:NAME]`.

    --json prints an object: name, reference (with everything filled in), digest.
    """
    library = Library()
    target = library.new_name(name)
    reference = _source(library, source)
    with slow_notice(f"importing {source}"), library.get(reference) as image:
        library.store.tag(str(target), image.descriptor)
    digest = image.descriptor.digest
    if as_json:
        print_json(facts_of(str(target), digest))
    else:
        click.echo(digest)


def _source(library: Library, text: str) -> Reference:
    if os.path.isdir(text):
        if os.path.isfile(os.path.join(text, "oci-layout")):
            hint = f"write oci:{text} for the image in it, or dir:{text} for its files as they are"
            raise ImageError(f"{text} is an image layout, and no root file system", hint=hint)
        return PathReference(transport="dir", path=os.path.abspath(text))
    if os.path.isfile(text):
        return PathReference(transport="tar", path=os.path.abspath(text))
    reference = parse_here(library, text)
    if reference.transport in NAMED:
        hint = "name a file or folder, or an image as oci:DIR, oci-archive:FILE or docker-archive:FILE"
        raise ImageError(f"there is no file or folder {text!r:.300} to import", hint=hint)
    return reference
