"""A manifest for layers and a configuration that are in the store, or about to be; and an image in the store as its documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lxsandbox.errors import ImageError
from lxsandbox.images.archives.layers import Layer
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.config import ImageConfig, parse_config
from lxsandbox.images.documents import CONFIG_TYPE, LARGEST_DOCUMENT_BYTES, Descriptor, Manifest, Platform, parse_manifest

__all__ = ["StoredImage", "check_layer_count", "load_image", "store_image"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredImage:
    """An image in the store: its manifest and its configuration, read and checked. Its layers are in the store too."""

    manifest: Manifest
    config: ImageConfig
    config_data: bytes


def store_image(config: bytes, platform: Platform, layers: Sequence[Layer], blobs: Blobs) -> Descriptor:
    """Store the configuration, and a manifest made for it and the layers. Returns the manifest's descriptor."""
    described = Descriptor(media_type=CONFIG_TYPE, digest=blobs.add(config), size=len(config))
    manifest = Manifest(config=described, layers=tuple(layer.descriptor for layer in layers))
    data = manifest.as_bytes()
    return Descriptor(media_type=manifest.media_type, digest=blobs.add(data), size=len(data), platform=platform)


def load_image(descriptor: Descriptor, blobs: Blobs) -> StoredImage:
    """The image of which `descriptor` is the manifest's. Raises ImageError where something of it is missing or damaged."""
    what = f"manifest {descriptor.digest}"
    data = blobs.read(descriptor.digest, at_most=LARGEST_DOCUMENT_BYTES)
    manifest = parse_manifest(data, media_type=descriptor.media_type, what=what)
    if not isinstance(manifest, Manifest):
        raise ImageError(f"{what} is an index of several images", hint="name one of them, for one platform")
    config_data = blobs.read(manifest.config.digest, at_most=LARGEST_DOCUMENT_BYTES)
    config = parse_config(config_data, what=f"config of {what}")
    check_layer_count(manifest, config, what)
    for layer in manifest.layers:
        blobs.size(layer.digest)
    return StoredImage(manifest=manifest, config=config, config_data=config_data)


def check_layer_count(manifest: Manifest, config: ImageConfig, what: str) -> None:
    """Raises ImageError unless the configuration has a diff_id for each layer."""
    if len(manifest.layers) != len(config.diff_ids):
        raise ImageError(f"{what} has {len(manifest.layers)} layers, and its config has {len(config.diff_ids)} diff_ids")
