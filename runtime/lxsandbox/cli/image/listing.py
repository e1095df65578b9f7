"""`lxsandbox image ls`: the images that have a name in this user's store."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from lxsandbox.cli.image.stored import facts_of, shown_name
from lxsandbox.cli.output import age_of, json_option, print_json, print_table
from lxsandbox.errors import ImageError
from lxsandbox.images.building.fetching import STEPS
from lxsandbox.images.config import EPOCH, parse_config
from lxsandbox.images.documents import Descriptor
from lxsandbox.images.store import Sizes, Store
from lxsandbox.units import format_size

__all__ = ["age_of_text", "list_images"]

_COLUMNS = ("NAME", "DIGEST", "CREATED", "SIZE", "SHARED")
_DIGITS = 12


@click.command("ls", short_help="List the images.")
@json_option
def list_images(as_json: bool) -> None:
    """List the images in this user's store, by name.

    SIZE is what an image alone takes, as blobs and unpacked; SHARED what other images are made of too, also the results of steps
    of builds, which are stored until `prune` makes room and are not listed.

    --json prints a list of objects: name, reference (with everything filled in), digest, created (RFC 3339, null when the
    image does not say), size_bytes and shared_bytes.
    """
    store = Store()
    names = {name: descriptor for name, descriptor in store.names().items() if not name.startswith(f"{STEPS}/")}
    found = [_Listed.of(store, name, descriptor) for name, descriptor in names.items()]
    found.sort(key=lambda each: each.name)
    if as_json:
        print_json([each.as_json() for each in found])
    else:
        print_table(_COLUMNS, [each.as_row() for each in found])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Listed:
    name: str
    reference: str
    digest: str
    created: str | None
    sizes: Sizes

    @classmethod
    def of(cls, store: Store, name: str, descriptor: Descriptor) -> _Listed:
        return cls(
            name=shown_name(name),
            reference=name,
            digest=descriptor.digest,
            created=_created(store, descriptor),
            sizes=store.sizes(descriptor),
        )

    def as_json(self) -> dict[str, Any]:
        return {
            **facts_of(self.reference, self.digest),
            "created": self.created,
            "size_bytes": self.sizes.own,
            "shared_bytes": self.sizes.shared,
        }

    def as_row(self) -> tuple[str, ...]:
        digest = self.digest.partition(":")[2][:_DIGITS]
        return (self.name, digest, age_of_text(self.created), format_size(self.sizes.own), format_size(self.sizes.shared))


def _created(store: Store, descriptor: Descriptor) -> str | None:
    with contextlib.suppress(ImageError):  # several images under one name, or a part is missing: listed all the same
        created = parse_config(store.config_bytes(store.manifest(descriptor))).created
        return None if created == EPOCH else created
    return None


def age_of_text(created: str | None) -> str:
    """How long ago the time, as images have it (RFC 3339), was; `-` where it says nothing."""
    if created in (None, EPOCH):
        return "-"
    try:
        return age_of(datetime.fromisoformat(created.upper()).timestamp())
    except (ValueError, OverflowError):  # a leap second, or the year 0000
        return "-"
