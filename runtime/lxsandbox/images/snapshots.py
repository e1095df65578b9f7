"""An image with one layer more: what has changed in a sandbox over it. The documents alone; layers are written elsewhere.

The settings stay the image's own: a sandbox over a snapshot starts as one over its image does. Nothing in the documents tells
when or where they were made, so equal changes of equal images give equal digests.
"""

from __future__ import annotations

from dataclasses import replace

from lxsandbox.errors import ImageError
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.config import BASE_LABEL, EPOCH, HistoryEntry, ImageConfig
from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, MOST_LAYERS, Descriptor, Manifest, Platform

__all__ = ["CREATED_BY", "check_room", "host_base", "store_documents", "with_layer"]

CREATED_BY = "lxsandbox snapshot"
# Docker's image manifest version 2, schema 2, and what its types are called in OCI documents.
_OCI_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar": LAYER_TYPE,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{LAYER_TYPE}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": f"{LAYER_TYPE}+zstd",
}


def host_base(platform: Platform) -> tuple[Manifest, ImageConfig]:
    """An image of nothing but the files of the host that it runs on."""
    config = ImageConfig(platform=platform, labels={BASE_LABEL: "host"})
    data = config.as_bytes()
    return Manifest(config=Descriptor(media_type=CONFIG_TYPE, digest=digest_of(data), size=len(data)), layers=()), config


def check_room(manifest: Manifest) -> None:
    """Raises ImageError when the image can have no layer more."""
    if len(manifest.layers) >= MOST_LAYERS:
        raise ImageError(
            f"the image has {len(manifest.layers)} layers, and overlayfs stacks no more",
            hint="make it anew with fewer: export it, unpack it, and import its root",
        )


def with_layer(manifest: Manifest, config: ImageConfig, layer: Descriptor) -> tuple[Manifest, ImageConfig]:
    """The image with this uncompressed layer on top. The manifest's `config` is still the old one."""
    layers = tuple(replace(each, media_type=_OCI_TYPES.get(each.media_type, each.media_type)) for each in manifest.layers)
    grown = replace(
        config,
        diff_ids=(*config.diff_ids, layer.digest),
        history=(*config.whole_history(), HistoryEntry(created_by=CREATED_BY)),
        created=EPOCH,
    )
    return replace(manifest, layers=(*layers, layer), media_type=MANIFEST_TYPE), grown


def store_documents(manifest: Manifest, config: ImageConfig, blobs: Blobs) -> tuple[Manifest, Descriptor]:
    """Store both; the manifest, last, with the descriptor of the configuration in it, and its own descriptor."""
    data = config.as_bytes()
    described = Descriptor(media_type=CONFIG_TYPE, digest=blobs.add(data), size=len(data))
    whole = replace(manifest, config=described)
    document = whole.as_bytes()
    return whole, Descriptor(media_type=whole.media_type, digest=blobs.add(document), size=len(document))
