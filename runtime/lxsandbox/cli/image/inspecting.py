"""`lxsandbox image inspect`: an image's documents, as they are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from lxsandbox.cli.image.stored import facts_of, held
from lxsandbox.cli.output import print_json
from lxsandbox.image import Image
from lxsandbox.images.config import parse_config
from lxsandbox.images.documents import LARGEST_DOCUMENT_BYTES, load_object
from lxsandbox.images.library import Library

__all__ = ["inspect_image"]


@click.command("inspect", short_help="Show what an image says of itself.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as it does anyway.")
@click.argument("reference", metavar="NAME")
def inspect_image(reference: str, as_json: bool) -> None:  # noqa: ARG001 - there is no other form
    """Print a JSON object: what NAME is called (name, and reference with everything filled in), its digest and platform, what it
    says of how it is run (entrypoint, command, env, user, cwd, volumes, ports, healthcheck, stop_signal, labels), and the
    documents manifest and config as they are.

    Instead of a NAME, an image in a file can be given: `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE`.
    """
    library = Library()
    with held(library, reference) as image:
        manifest = library.store.manifest(image.descriptor)
        data = library.store.blobs.read(image.descriptor.digest, at_most=LARGEST_DOCUMENT_BYTES)
        config = library.store.config_bytes(manifest)
        parsed = parse_config(config, what=f"config of {reference}")
        print_json(
            {
                **facts_of(image.name, image.descriptor.digest),
                "platform": str(parsed.platform),
                **_run_settings(parsed.described(image.name, image.descriptor.digest)),
                "manifest": load_object(data, "manifest"),
                "config": load_object(config, "configuration"),
            }
        )


def _run_settings(image: Image) -> dict[str, Any]:
    return {name: value for name, value in asdict(image).items() if name not in ("reference", "digest")}
