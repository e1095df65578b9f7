"""Which images make room for others: decided here, carried out by the store."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lxsandbox.images.store.layers import diff_id_of
from lxsandbox.images.store.reach import Reach

__all__ = ["NOTHING_STAYS", "Pruned", "StoredImage", "Usage", "images_to_go", "is_in_use", "last_use", "union"]

NOTHING_STAYS = -1  # no store is as small: every image that is not in use goes


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredImage:
    """An image with at least one name. `last_used` is in seconds since the epoch."""

    digest: str
    names: tuple[str, ...]
    reach: Reach
    last_used: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What is in the store: counts, and bytes of content (not of the blocks that the file system takes for it)."""

    images: int
    blobs: int
    blob_bytes: int
    layers: int
    layer_bytes: int
    part_bytes: int

    @property
    def bytes(self) -> int:
        return self.blob_bytes + self.layer_bytes + self.part_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """What was removed, and the bytes that this freed."""

    names: tuple[str, ...]
    blobs: tuple[str, ...]
    layers: tuple[str, ...]
    bytes: int


def images_to_go(
    images: Sequence[StoredImage],
    leased: Reach,
    size_of: Callable[[Reach], int],
    *,
    at_most_bytes: float,
    unused_since: float = math.inf,
) -> list[StoredImage]:
    """Of the images, least recently used first, as many as must go until the rest, and what is leased, is small enough.

    None goes that is in use, or was used since that time; `size_of` is in bytes, and what images share counts once.
    """
    stay = sorted(images, key=lambda image: (image.last_used, image.digest))
    gone: list[StoredImage] = []
    for image in list(stay):
        if size_of(union(stay) | leased) <= at_most_bytes:
            break
        if image.last_used < unused_since and not is_in_use(image, leased):
            stay.remove(image)
            gone.append(image)
    return gone


def is_in_use(image: StoredImage, leased: Reach) -> bool:
    """Whether a lease holds the image, or a layer of its own or of others that it is made of."""
    held_layers = {diff_id_of(key) for key in leased.layers}
    return image.digest in leased.blobs or not held_layers.isdisjoint(image.reach.diff_ids)


def last_use(manifest_read: float, diff_ids: frozenset[str], layers_used: Mapping[str, float]) -> float:
    """When an image was used last: its manifest, or the layer of it that was used least lately, if all are unpacked.

    Not the one used most lately: that may be a base which it shares with an image in daily use.
    """
    latest: dict[str, float] = {}
    for key, used in layers_used.items():
        latest[diff_id_of(key)] = max(used, latest.get(diff_id_of(key), 0.0))
    if not diff_ids or not diff_ids <= latest.keys():
        return manifest_read
    return max(manifest_read, min(latest[diff_id] for diff_id in diff_ids))


def union(images: Sequence[StoredImage]) -> Reach:
    """All that the images are made of."""
    return functools.reduce(lambda one, other: one | other, (image.reach for image in images), Reach())
