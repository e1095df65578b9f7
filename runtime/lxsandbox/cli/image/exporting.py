"""`lxsandbox image export`: an image into a file or folder, for other tools and other machines."""

from __future__ import annotations

import os

import click

from lxsandbox.cli.image.stored import facts_of, held
from lxsandbox.cli.output import json_option, print_json
from lxsandbox.cli.waiting import slow_notice
from lxsandbox.errors import ImageError
from lxsandbox.images.archives import export_docker_archive, export_layout, export_oci_archive
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import Descriptor
from lxsandbox.images.library import Library
from lxsandbox.images.references import DockerArchiveReference, LayoutReference, Reference

__all__ = ["export_image"]


@click.command("export", short_help="Write an image into a file or folder.")
@json_option
@click.argument("name", metavar="NAME")
@click.argument("target", metavar="TARGET")
def export_image(name: str, target: str, as_json: bool) -> None:
    """Write the image NAME to TARGET, which other container tools read.

    \b
    oci:DIR[:TAG]                an OCI image layout; one that is there gets the image added
    oci-archive:FILE[:TAG]       the same in a tar
    docker-archive:FILE[:NAME]   what `docker save` writes

    --json prints an object: name, reference (with everything filled in), digest, target.
    """
    library = Library()
    place = library.transports.parse(target, base=os.getcwd(), must_exist=False)
    with held(library, name) as image, slow_notice(f"exporting {name}"):
        _export(image.descriptor, library.store.blobs, place)
    if as_json:
        print_json({**facts_of(image.name, image.descriptor.digest), "target": str(place)})


def _export(descriptor: Descriptor, blobs: Blobs, place: Reference) -> None:
    match place:
        case LayoutReference(transport="oci"):
            export_layout(descriptor, blobs, place.path, place.tag)
        case LayoutReference(transport="oci-archive"):
            export_oci_archive(descriptor, blobs, place.path, place.tag)
        case DockerArchiveReference(index=None):
            export_docker_archive(descriptor, blobs, place.path, place.image.full_name if place.image else "")
        case _:
            hint = "write oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME]"
            raise ImageError(f"nothing can be exported to {place.familiar()}", hint=hint)
