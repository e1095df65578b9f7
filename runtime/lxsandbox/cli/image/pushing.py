"""`lxsandbox image push`: send an image to a registry."""

from __future__ import annotations

import click

from lxsandbox.cli.image.stored import facts_of, held
from lxsandbox.cli.image.transferring import shown_progress
from lxsandbox.cli.output import json_option, print_json
from lxsandbox.images.fetching import open_registry
from lxsandbox.images.library import Library
from lxsandbox.images.references import Reference, RegistryReference
from lxsandbox.images.registry import push

__all__ = ["push_image"]


@click.command("push", short_help="Send an image to a registry.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@json_option
@click.argument("name", metavar="NAME")
@click.argument("reference", metavar="[REF]", required=False)
def push_image(name: str, reference: str | None, quiet: bool, as_json: bool) -> None:
    """Send the stored image NAME to where REF ([HOST/]REPOSITORY[:TAG]) says, or NAME itself. Prints the digest of its manifest.

    What the registry has already is not sent.

    --json prints an object: name, reference (with everything filled in) of where it is now, and digest.
    """
    library = Library()
    target = library.new_name(reference or name)
    with (
        held(library, name) as image,
        open_registry(target.host) as registry,
        shown_progress(quiet=quiet) as progress,
    ):
        push.push_image(
            registry,
            target.repository,
            target.tag,
            image.descriptor,
            library.store.blobs,
            mount_from=_neighbour(image.reference, target),
            progress=progress,
        )
    digest = image.descriptor.digest
    if as_json:
        print_json(facts_of(str(target), digest))
    else:
        click.echo(digest)


def _neighbour(source: Reference, target: RegistryReference) -> str | None:
    """The repository of the same registry that has the blobs perhaps, so that they need not be sent."""
    if isinstance(source, RegistryReference) and source.host == target.host and source.repository != target.repository:
        return source.repository
    return None
