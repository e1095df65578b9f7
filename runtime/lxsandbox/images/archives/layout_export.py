"""Writing images as an OCI image layout: into a folder that may hold others already, or as an archive.

Source: image-spec v1.1, image-layout.md and annotations.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Generator
from dataclasses import replace
from typing import Any

from lxsandbox.errors import ImageError
from lxsandbox.images.archives.layout import LAYOUT_FILE, LAYOUT_VERSION, TAG, blob_entry, check_layout_version
from lxsandbox.images.archives.manifests import load_image
from lxsandbox.images.archives.sources import FolderSource, read_document
from lxsandbox.images.archives.writing import TarWriter, replacing, verified_blocks, writing_errors
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import INDEX_TYPE, Descriptor, Index, load_object, parse_manifest

__all__ = ["export_layout", "export_oci_archive"]

# annotations.md, "Pre-Defined Annotation Keys": the grammar of org.opencontainers.image.ref.name.
_TAG = re.compile(r"[A-Za-z0-9]+(?:(?:[-._:@+/]|--)[A-Za-z0-9]+)*")
_LONGEST_TAG = 255
_LAYOUT = json.dumps({"imageLayoutVersion": LAYOUT_VERSION}).encode()


def export_layout(descriptor: Descriptor, blobs: Blobs, folder: str, tag: str = "") -> None:
    """Add the image of which `descriptor` is the manifest's to the layout in `folder`, which is made when it is not there.

    What had the tag before loses it. Others may write to the layout at the same time. Raises ImageError.
    """
    entry = _tagged(descriptor, tag)
    digests = _digests(descriptor, blobs)
    with writing_errors(folder):
        os.makedirs(folder, exist_ok=True)
        with _alone(folder):
            listed = _listed_in(folder)
            for digest in digests:
                _write_blob(blobs, digest, folder)
            _write(os.path.join(folder, LAYOUT_FILE), _LAYOUT)
            _write(os.path.join(folder, "index.json"), _added(listed, entry))


def export_oci_archive(descriptor: Descriptor, blobs: Blobs, file: str, tag: str = "") -> None:
    """Write the image as a layout in the tar `file`, which is replaced. Raises ImageError.

    The same image and tag give the same bytes.
    """
    index = Index(manifests=(_tagged(descriptor, tag),))
    digests = _digests(descriptor, blobs)
    with writing_errors(file), replacing(file) as out:
        tar = TarWriter(out)
        for folder in ["blobs", *sorted({os.path.dirname(blob_entry(digest)) for digest in digests})]:
            tar.add_folder(folder)
        for digest in digests:
            tar.add_stream(blob_entry(digest), verified_blocks(blobs, digest))
        tar.add("index.json", index.as_bytes())
        tar.add(LAYOUT_FILE, _LAYOUT)
        tar.finish()


def _tagged(descriptor: Descriptor, tag: str) -> Descriptor:
    if not tag:
        return replace(descriptor, annotations={})
    if len(tag) > _LONGEST_TAG or not _TAG.fullmatch(tag):
        raise ImageError(f"{tag!r:.100} is no tag", hint="a tag is letters and digits with one of -._:@+/ in between")
    return replace(descriptor, annotations={TAG: tag})


def _digests(descriptor: Descriptor, blobs: Blobs) -> list[str]:
    manifest = load_image(descriptor, blobs).manifest
    return sorted({descriptor.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)})


@contextlib.contextmanager
def _alone(folder: str) -> Generator[None]:
    """A lock on the folder itself: a file for it would be part of the layout."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _listed_in(folder: str) -> dict[str, Any]:
    """The index.json of a layout, as it is. Raises ImageError for a folder that holds something else."""
    if not os.listdir(folder):
        return {}
    source = FolderSource(folder)
    if not os.path.lexists(os.path.join(folder, LAYOUT_FILE)):
        raise ImageError(f"{folder} holds something else than an image layout", hint="name a new folder, or an empty one")
    check_layout_version(read_document(source, LAYOUT_FILE), f"{folder}: {LAYOUT_FILE}")
    if not os.path.lexists(os.path.join(folder, "index.json")):
        return {}
    data = read_document(source, "index.json")
    if not isinstance(parse_manifest(data, media_type=INDEX_TYPE, what=f"{folder}: index.json"), Index):
        raise ImageError(f"{folder}: index.json is no index")
    return load_object(data, f"{folder}: index.json")


def _added(listed: dict[str, Any], entry: Descriptor) -> bytes:
    """The index with the entry in it. What others have written there is kept, also what this program does not know."""
    others = [each for each in _entries(listed) if not _is_replaced(each, entry)]
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, **listed, "manifests": [*others, entry.as_json()]}
    return json.dumps(index, separators=(",", ":"), sort_keys=True).encode()


def _entries(listed: dict[str, Any]) -> list[dict[str, Any]]:
    return list(listed.get("manifests", ()))


def _is_replaced(other: dict[str, Any], entry: Descriptor) -> bool:
    annotations: dict[str, str] = other.get("annotations") or {}
    tag = annotations.get(TAG)
    if tag != entry.annotations.get(TAG):
        return False
    return tag is not None or other["digest"] == entry.digest


def _write_blob(blobs: Blobs, digest: str, folder: str) -> None:
    path = os.path.join(folder, blob_entry(digest))
    if os.path.isfile(path):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with replacing(path) as file:
        for block in verified_blocks(blobs, digest):
            file.write(block)


def _write(path: str, data: bytes) -> None:
    with replacing(path) as file:
        file.write(data)
