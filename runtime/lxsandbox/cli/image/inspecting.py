"""`lxsandbox image inspect`: an image's documents, as they are."""

from __future__ import annotations

import click

from lxsandbox.cli.image.stored import held
from lxsandbox.cli.output import print_json
from lxsandbox.images.documents import LARGEST_DOCUMENT_BYTES, load_object
from lxsandbox.images.library import Library

__all__ = ["inspect_image"]


@click.command("inspect", short_help="Show what an image says of itself.")
@click.argument("reference", metavar="NAME")
def inspect_image(reference: str) -> None:
    """Print a JSON object: reference (NAME with everything filled in), digest, and the documents manifest and config as they are.

    Instead of a NAME, an image in a file can be given: `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE`.
    """
    library = Library()
    with held(library, reference) as image:
        manifest = library.store.manifest(image.descriptor)
        data = library.store.blobs.read(image.descriptor.digest, at_most=LARGEST_DOCUMENT_BYTES)
        config = library.store.config_bytes(manifest)
        print_json(
            {
                "reference": image.name,
                "digest": image.descriptor.digest,
                "manifest": load_object(data, "manifest"),
                "config": load_object(config, "configuration"),
            }
        )
