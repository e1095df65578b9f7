"""Images in the archives that `docker save` writes.

Source: Docker's image specification v1.3, "Combined Image JSON + Filesystem Changeset Format": manifest.json names the
files. Where those are has changed (LAYERID/layer.tar, also as links to each other; since Docker 25 blobs/sha256/…): no matter.
"""

from __future__ import annotations

import functools
import json
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lxsandbox.errors import ImageError
from lxsandbox.images import config_fields as fields
from lxsandbox.images.archives.layers import Layer, take_layer
from lxsandbox.images.archives.manifests import store_image
from lxsandbox.images.archives.sources import listed, read_document, shown
from lxsandbox.images.archives.tar_source import TarSource
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.config import ImageConfig, parse_config
from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import Descriptor, as_object
from lxsandbox.images.registry_reference import RegistryReference, parse_registry_reference

__all__ = ["read_docker_archive"]

_BY_DIGEST = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Saved:
    """An entry of manifest.json: files in the archive, and names of the image."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]


def read_docker_archive(file: str, blobs: Blobs, *, name: str = "") -> Descriptor:
    """Store the image that the archive has under `name` (or `@N`, the one at place N), or its only one.

    Returns the descriptor of a manifest made for it: the archive has none, and compresses layers or does not. Raises ImageError.
    """
    with TarSource(file) as source:
        saved = _choose(_saved(source), name, file)
        config_data = read_document(source, saved.config)
        _check_name(source, saved.config, config_data)
        config = parse_config(config_data, what=f"{file}: {shown(saved.config)}")
        if len(saved.layers) != len(config.diff_ids):
            raise ImageError(
                f"{file}: manifest.json has {len(saved.layers)} layers, and {shown(saved.config)} {len(config.diff_ids)}"
            )
        layers = _take_layers(source, saved, config, blobs)
        return store_image(config_data, config.platform, layers, blobs)


def _take_layers(source: TarSource, saved: _Saved, config: ImageConfig, blobs: Blobs) -> list[Layer]:
    pairs = list(zip(saved.layers, config.diff_ids, strict=True))
    taken: dict[tuple[str, str], Layer] = {}
    for entry, diff_id in sorted(set(pairs), key=lambda pair: source.position(pair[0])):
        what = f"{source.name}: {shown(entry)}"
        taken[entry, diff_id] = take_layer(functools.partial(source.open, entry), blobs, what=what, diff_id=diff_id)
    return [taken[pair] for pair in pairs]


def _saved(source: TarSource) -> list[_Saved]:
    what = f"{source.name}: manifest.json"
    if not source.has("manifest.json"):
        raise ImageError(f"{source.name} has no manifest.json", hint="it is not from `docker save`, or older than Docker 1.10")
    try:
        data = json.loads(read_document(source, "manifest.json"))
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{what} is no JSON: {error}") from None
    return [
        _entry(as_object(each, f"{what}: image {n}"), f"{what}: image {n}") for n, each in enumerate(fields.items(data, what))
    ]


def _entry(given: dict[str, Any], what: str) -> _Saved:
    return _Saved(
        config=_file(fields.text(given.get("Config"), f"{what}: Config"), f"{what}: Config"),
        layers=tuple(_file(each, f"{what}: Layers") for each in fields.texts(given.get("Layers"), f"{what}: Layers")),
        tags=fields.texts(given.get("RepoTags"), f"{what}: RepoTags"),
    )


def _file(name: str, what: str) -> str:
    if not name:
        raise ImageError(f"{what} names no file")
    return posixpath.normpath(name)


def _choose(images: Sequence[_Saved], name: str, file: str) -> _Saved:
    tags = listed([tag for image in images for tag in image.tags]) or f"none with a name: try @0 to @{len(images) - 1}"
    if name.startswith("@"):
        number = name[1:]
        if number.isascii() and number.isdigit() and len(number) < 6 and int(number) < len(images):
            return images[int(number)]
        raise ImageError(f"{file} has no image {name!r:.100}", hint=f"it has {len(images)} images, counted from @0")
    if name:
        wanted = _parsed(name)
        found = next((image for image in images if any(_is(tag, wanted) for tag in image.tags)), None)
        if found is None:
            raise ImageError(f"{file} has no image {name!r:.100}", hint=f"there are {tags}")
        return found
    if not images:
        raise ImageError(f"{file}: manifest.json has no images")
    if len(images) > 1:
        raise ImageError(f"{file} has {len(images)} images", hint=f"name one of {tags} after it, as in FILE:NAME")
    return images[0]


def _parsed(name: str) -> RegistryReference:
    try:
        return parse_registry_reference(name)
    except ImageError as error:
        raise ImageError(f"{name!r:.100} is no name of an image: {error.message}", hint=error.hint) from None


def _is(tag: str, wanted: RegistryReference) -> bool:
    try:
        return parse_registry_reference(tag) == wanted
    except ImageError:
        return False  # what others call an image, nobody has asked for


def _check_name(source: TarSource, entry: str, data: bytes) -> None:
    match = _BY_DIGEST.fullmatch(entry)
    if match and digest_of(data) != f"sha256:{match[1]}":
        raise ImageError(f"{source.name}: {entry} is {digest_of(data)}", hint="the image is damaged: make it again")
