"""`lxsandbox image push`: send an image to a registry."""

from __future__ import annotations

import click

from lxsandbox.cli.image.stored import held
from lxsandbox.cli.image.transferring import shown_progress
from lxsandbox.images.fetching import open_registry
from lxsandbox.images.library import Library
from lxsandbox.images.references import Reference, RegistryReference
from lxsandbox.images.registry import push

__all__ = ["push_image"]


@click.command("push", short_help="Send an image to a registry.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.argument("name", metavar="NAME")
@click.argument("reference", metavar="[REF]", required=False)
def push_image(name: str, reference: str | None, quiet: bool) -> None:
    """Send the stored image NAME to where REF ([HOST/]REPOSITORY[:TAG]) says, or NAME itself. Prints the digest of its manifest.

    What the registry has already is not sent.
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
    click.echo(image.descriptor.digest)


def _neighbour(source: Reference, target: RegistryReference) -> str | None:
    """The repository of the same registry that has the blobs perhaps, so that they need not be sent."""
    if isinstance(source, RegistryReference) and source.host == target.host and source.repository != target.repository:
        return source.repository
    return None
