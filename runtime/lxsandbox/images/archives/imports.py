"""Bare root file systems as images: a tar or a folder becomes the one layer of an image for this host's platform."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

from lxsandbox.errors import ImageError
from lxsandbox.images.archives.layers import Layer, compressed, hashed, take_layer, whole_tar
from lxsandbox.images.archives.manifests import store_image
from lxsandbox.images.archives.packing import pack_folder
from lxsandbox.images.archives.sources import open_regular
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.config import HistoryEntry, ImageConfig
from lxsandbox.images.documents import LAYER_TYPE, Descriptor
from lxsandbox.images.platforms import host_platform

__all__ = ["compressed_layer", "import_dir", "import_stream", "import_tar"]


def import_tar(path: str, blobs: Blobs, *, name: str = "") -> Descriptor:
    """Store the tar at `path`, plain or compressed, as an image. `name` is what its history says it came from.

    Returns the descriptor of its manifest; the same tar and name give the same one. Raises ImageError.
    """
    layer = take_layer(lambda: open_regular(path, path), blobs, what=path)
    return _image(layer, name or os.path.basename(path), blobs)


def import_stream(blocks: Iterable[bytes], blobs: Blobs, *, name: str) -> Descriptor:
    """Store the uncompressed tar that `blocks` yields as an image; what they raise leaves nothing behind. Raises ImageError."""
    return _image(compressed_layer(whole_tar(blocks, name), blobs), name, blobs)


def import_dir(path: str, blobs: Blobs, *, name: str = "") -> Descriptor:
    """Store what is in the folder `path` as an image: owners, modes, times to the nanosecond, extended attributes, hard links.

    Sockets are left out, symbolic links stay what they are. Returns the descriptor of its manifest. Raises ImageError.
    """
    if not os.path.isdir(path):
        raise ImageError(f"{path} is not a folder", hint="name the folder that holds a root file system (bin, etc, usr …)")
    layer = compressed_layer(pack_folder(path), blobs)
    return _image(layer, name or os.path.basename(os.path.abspath(path)), blobs)


def compressed_layer(blocks: Iterable[bytes], blobs: Blobs) -> Layer:
    """Store the tar that `blocks` yields as a layer. Raises what they raise, and then nothing is left."""
    hasher = hashlib.sha256()
    digest, size = blobs.add_stream(compressed(hashed(blocks, hasher)))
    descriptor = Descriptor(media_type=f"{LAYER_TYPE}+zstd", digest=digest, size=size)
    return Layer(descriptor=descriptor, diff_id=f"sha256:{hasher.hexdigest()}")


def _image(layer: Layer, name: str, blobs: Blobs) -> Descriptor:
    # What is no Unicode (a path need not be) cannot be in a JSON document.
    shown = name.encode("utf-8", "backslashreplace").decode()
    history = HistoryEntry(created_by=f"lxsandbox image import {shown}")
    config = ImageConfig(platform=host_platform(), diff_ids=(layer.diff_id,), history=(history,))
    return store_image(config.as_bytes(), config.platform, [layer], blobs)
