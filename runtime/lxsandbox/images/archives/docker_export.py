"""Writing images as `docker save` does: layers uncompressed, every file named by the digest of its content."""

from __future__ import annotations

import hashlib
import json

from lxsandbox.errors import ImageError
from lxsandbox.images.archives.layers import decompressed_blocks, hashed
from lxsandbox.images.archives.manifests import load_image
from lxsandbox.images.archives.sources import open_regular
from lxsandbox.images.archives.writing import TarWriter, replacing, writing_errors
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import Descriptor
from lxsandbox.images.registry_reference import parse_registry_reference

__all__ = ["export_docker_archive"]


def export_docker_archive(descriptor: Descriptor, blobs: Blobs, file: str, repo_tag: str = "") -> None:
    """Write the image of which `descriptor` is the manifest's to the tar `file`, which is replaced, under the name `repo_tag`.

    The same image and name give the same bytes. Raises ImageError.
    """
    tags = [parse_registry_reference(repo_tag).familiar()] if repo_tag else []
    image = load_image(descriptor, blobs)
    config_name = f"{_encoded(digest_of(image.config_data))}.json"
    layers = {diff_id: layer.digest for diff_id, layer in zip(image.config.diff_ids, image.manifest.layers, strict=True)}
    listed = {"Config": config_name, "RepoTags": tags, "Layers": [_layer_name(diff_id) for diff_id in image.config.diff_ids]}
    with writing_errors(file), replacing(file) as out:
        tar = TarWriter(out)
        for diff_id, digest in sorted(layers.items()):
            _add_layer(tar, blobs, digest, diff_id)
        tar.add(config_name, image.config_data)
        tar.add("manifest.json", json.dumps([listed], separators=(",", ":"), sort_keys=True).encode())
        tar.finish()


def _add_layer(tar: TarWriter, blobs: Blobs, digest: str, diff_id: str) -> None:
    what = f"layer {digest}"
    hasher = hashlib.sha256()
    blocks = decompressed_blocks(lambda: open_regular(blobs.path(digest), what), what)
    tar.add_stream(_layer_name(diff_id), hashed(blocks, hasher))
    found = f"sha256:{hasher.hexdigest()}"
    if found != diff_id:
        raise ImageError(f"{what} is {found} when decompressed, and its image's config says {diff_id}", hint="fetch it again")


def _layer_name(diff_id: str) -> str:
    return f"{_encoded(diff_id)}.tar"


def _encoded(digest: str) -> str:
    return digest.partition(":")[2]
