"""`lxsandbox image history`: the steps by which an image came to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from lxsandbox.cli.image.listing import age_of_text
from lxsandbox.cli.image.stored import held
from lxsandbox.cli.output import json_option, print_json, print_table
from lxsandbox.images.config import EPOCH, HistoryEntry, ImageConfig, parse_config
from lxsandbox.images.documents import Descriptor, Manifest
from lxsandbox.images.library import Library
from lxsandbox.units import format_size

__all__ = ["show_history"]

_COLUMNS = ("CREATED", "CREATED BY", "SIZE", "COMMENT")


@click.command("history", short_help="Show the steps by which an image was made.")
@click.argument("reference", metavar="NAME")
@json_option
def show_history(reference: str, as_json: bool) -> None:
    """Show the steps by which an image was made, the last one first. SIZE is of the layer as it is stored, compressed mostly.

    --json prints a list of objects: created (RFC 3339, null when nobody said), created_by, author, comment, digest and
    size_bytes of the layer, both null for a step that made none.
    """
    library = Library()
    with held(library, reference) as image:
        manifest = library.store.manifest(image.descriptor)
        config = parse_config(library.store.config_bytes(manifest), what=f"config of {reference}")
    steps = _steps(manifest, config)
    if as_json:
        print_json([step.as_json() for step in steps])
    else:
        print_table(_COLUMNS, [step.as_row() for step in steps])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    entry: HistoryEntry
    layer: Descriptor | None

    def as_json(self) -> dict[str, Any]:
        return {
            "created": None if self.entry.created == EPOCH else self.entry.created,
            "created_by": self.entry.created_by,
            "author": self.entry.author,
            "comment": self.entry.comment,
            "digest": self.layer and self.layer.digest,
            "size_bytes": self.layer and self.layer.size,
        }

    def as_row(self) -> tuple[str, ...]:
        size = format_size(self.layer.size) if self.layer else "-"
        return (age_of_text(self.entry.created), self.entry.created_by or "-", size, self.entry.comment)


def _steps(manifest: Manifest, config: ImageConfig) -> list[_Step]:
    """The last one first. A history may say less than there are layers, or more (image-spec, config.md: it is optional)."""
    layers = iter(manifest.layers)
    steps = [_Step(entry=entry, layer=None if entry.empty_layer else next(layers, None)) for entry in config.history]
    untold = [_Step(entry=HistoryEntry(), layer=layer) for layer in layers]
    return [*steps, *untold][::-1]
