"""What an image is made of: from a descriptor to its manifest, its blobs and its layers. Nothing is written here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from lxsandbox.errors import ImageError
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.digests import check_digest
from lxsandbox.images.documents import (
    INDEX_TYPES,
    LARGEST_DOCUMENT_BYTES,
    MANIFEST_TYPES,
    Descriptor,
    Index,
    Manifest,
    as_object,
    load_object,
    parse_manifest,
)
from lxsandbox.images.store.layers import diff_id_of, is_layer_key
from lxsandbox.images.store.leases import Held

__all__ = ["Reach", "config_bytes", "document", "is_complete", "reach_of", "sizes_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """Blobs by digest, layers by diff id (however their owners were shifted), and layers by key."""

    blobs: frozenset[str] = frozenset()
    diff_ids: frozenset[str] = frozenset()
    layers: frozenset[str] = frozenset()

    def has_layer(self, key: str) -> bool:
        return key in self.layers or diff_id_of(key) in self.diff_ids

    def __or__(self, other: Reach) -> Reach:
        return Reach(blobs=self.blobs | other.blobs, diff_ids=self.diff_ids | other.diff_ids, layers=self.layers | other.layers)


def document(blobs: Blobs, descriptor: Descriptor) -> Manifest | Index:
    """The manifest or index that `descriptor` is of, verified. Raises ImageError."""
    data = blobs.read(descriptor.digest, at_most=LARGEST_DOCUMENT_BYTES)
    return parse_manifest(data, media_type=descriptor.media_type, what=f"manifest {descriptor.digest}")


def config_bytes(blobs: Blobs, manifest: Manifest) -> bytes:
    """The configuration of the image, verified. Raises ImageError."""
    return blobs.read(manifest.config.digest, at_most=LARGEST_DOCUMENT_BYTES)


def is_complete(blobs: Blobs, descriptor: Descriptor) -> bool:
    """Whether all that an image is made of is there; of an index, one image at least, and of no image a part alone."""
    images = 0
    waiting = [descriptor]
    seen: set[str] = set()
    while waiting:
        each = waiting.pop()
        seen.add(each.digest)
        try:
            found = document(blobs, each)
        except ImageError:
            return False
        if isinstance(found, Index):
            waiting += [entry for entry in found.manifests if blobs.has(entry.digest) and entry.digest not in seen]
            continue
        if [blob for blob in (found.config, *found.layers) if not _has(blobs, blob)]:  # each is looked at, also after a bad one
            return False
        images += 1
    return images > 0


def _has(blobs: Blobs, descriptor: Descriptor) -> bool:
    if not blobs.has(descriptor.digest):
        return False
    if blobs.size(descriptor.digest) == descriptor.size:
        return True
    # A manifest that lies about a size must not cost others the blob: its digest alone tells, and removes it if it is damaged.
    blobs.is_sound(descriptor.digest)
    return False


def reach_of(blobs: Blobs, held: Iterable[Held]) -> Reach:
    """All that is held with `held`. What is not there, or is not what it should be, leads no further."""
    digests: set[str] = set()
    diff_ids: set[str] = set()
    layers: set[str] = set()
    waiting = list(held)
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            (layers if is_layer_key(each) else digests).add(each)
        elif each.digest not in digests:
            digests.add(each.digest)
            if each.media_type in (*MANIFEST_TYPES, *INDEX_TYPES):
                with contextlib.suppress(ImageError):
                    found = document(blobs, each)
                    waiting += found.manifests if isinstance(found, Index) else (found.config, *found.layers)
                    if isinstance(found, Manifest):
                        diff_ids |= _diff_ids(config_bytes(blobs, found))
    return Reach(blobs=frozenset(digests), diff_ids=frozenset(diff_ids), layers=frozenset(layers))


def sizes_of(reach: Reach, blobs: Mapping[str, int], layers: Mapping[str, int]) -> int:
    """How many bytes of these blobs and layers are in `reach`."""
    of_blobs = sum(size for digest, size in blobs.items() if digest in reach.blobs)
    return of_blobs + sum(size for key, size in layers.items() if reach.has_layer(key))


def _diff_ids(config: bytes) -> set[str]:
    # image-spec, config.md: rootfs.diff_ids, the digests of the layers' tar streams.
    root = as_object(load_object(config, "configuration").get("rootfs"), "configuration: rootfs")
    listed = root.get("diff_ids")
    return {check_digest(each, what="diff id") for each in cast("list[object]", listed)} if isinstance(listed, list) else set()
