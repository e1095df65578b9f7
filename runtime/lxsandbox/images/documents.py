"""The JSON documents of an image as values: index, manifest, configuration. From others, so everything in them is checked.

Source: image-spec v1.1 (image-index.md, manifest.md, config.md, descriptor.md), and Docker's image manifest version 2,
schema 2, which differs in its media types alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from lxsandbox.errors import ImageError
from lxsandbox.images.digests import check_digest

__all__ = [
    "CONFIG_TYPE", "INDEX_TYPE", "INDEX_TYPES", "LARGEST_DOCUMENT_BYTES", "LAYER_TYPE", "MANIFEST_TYPE", "MANIFEST_TYPES",
    "MOST_LAYERS", "Descriptor", "Index", "Manifest", "Platform", "as_object", "load_object", "parse_manifest",
]  # fmt: skip

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"  # and +gzip, +zstd
INDEX_TYPES = (INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFEST_TYPES = (MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json")

LARGEST_DOCUMENT_BYTES = 4 << 20  # what registries accept of a manifest, see distribution-spec, "Pushing Manifests"
MOST_LAYERS = 500  # overlayfs takes no more lower folders (OVL_MAX_STACK)
_LARGEST_BLOB_BYTES = 1 << 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Platform:
    """What an image runs on, in Go's names (`linux`, `amd64`, `v8`)."""

    os: str = "linux"
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    def as_json(self) -> dict[str, str]:
        data = {"architecture": self.architecture, "os": self.os}
        return {**data, "variant": self.variant} if self.variant else data


@dataclass(frozen=True, kw_only=True, slots=True)
class Descriptor:
    """A reference to a blob: its media type, digest and size in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def from_json(cls, data: object, *, what: str) -> Descriptor:
        """Raises ImageError, naming `what`."""
        given = as_object(data, what)
        size = given.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _LARGEST_BLOB_BYTES:
            raise ImageError(f"{what}: size {size!r:.100} is none")
        platform = given.get("platform")
        return cls(
            media_type=_text(given.get("mediaType"), f"{what}: mediaType"),
            digest=check_digest(given.get("digest"), what=f"{what}: digest"),
            size=size,
            platform=None if platform is None else _platform(platform, what),
            annotations=_texts(given.get("annotations"), f"{what}: annotations"),
        )

    def as_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.platform is not None:
            data["platform"] = self.platform.as_json()
        return {**data, "annotations": dict(self.annotations)} if self.annotations else data


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One image for one platform: its configuration, and its layers from the lowest to the uppermost."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = MANIFEST_TYPE
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])

    def as_bytes(self) -> bytes:
        """The document itself; equal values give equal bytes, and so one digest."""
        data: dict[str, Any] = {"schemaVersion": 2, "mediaType": self.media_type, "config": self.config.as_json()}
        data["layers"] = [layer.as_json() for layer in self.layers]
        return _dumped({**data, "annotations": dict(self.annotations)} if self.annotations else data)


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """Several images under one name, for a platform each; further indexes may be among them."""

    manifests: tuple[Descriptor, ...]
    media_type: str = INDEX_TYPE
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])

    def as_bytes(self) -> bytes:
        """The document itself."""
        data: dict[str, Any] = {"schemaVersion": 2, "mediaType": self.media_type}
        data["manifests"] = [manifest.as_json() for manifest in self.manifests]
        return _dumped({**data, "annotations": dict(self.annotations)} if self.annotations else data)


def parse_manifest(data: bytes, *, media_type: str = "", what: str = "manifest") -> Manifest | Index:
    """The manifest or index that `data` is; `media_type` is what its source said it is. Raises ImageError, naming `what`."""
    given = load_object(data, what)
    kind = _text(given.get("mediaType") or media_type or _guess(given), f"{what}: mediaType")
    if given.get("schemaVersion") != 2:
        hint = "the image was made by a Docker from before 2016: push it again with a current one"
        raise ImageError(f"{what} is of schema version {given.get('schemaVersion')!r:.20}, and only 2 is read", hint=hint)
    if "manifests" in given and ("layers" in given or "config" in given):  # CVE-2021-41190: each reader takes it for another
        raise ImageError(f"{what} is an index and a manifest at the same time", hint="whoever made it must make it anew")
    annotations = _texts(given.get("annotations"), f"{what}: annotations")
    if kind in INDEX_TYPES:
        entries = _list(given.get("manifests"), f"{what}: manifests")
        manifests = tuple(Descriptor.from_json(entry, what=f"{what}: manifest {n}") for n, entry in enumerate(entries))
        return Index(manifests=manifests, media_type=kind, annotations=annotations)
    if kind not in MANIFEST_TYPES:
        raise ImageError(f"{what} is of type {kind!r:.100}, which is no image", hint="name the image itself")
    layers = _list(given.get("layers"), f"{what}: layers")
    if len(layers) > MOST_LAYERS:
        raise ImageError(f"{what} has {len(layers)} layers, and overlayfs stacks {MOST_LAYERS}")
    return Manifest(
        config=Descriptor.from_json(given.get("config"), what=f"{what}: config"),
        layers=tuple(Descriptor.from_json(layer, what=f"{what}: layer {n}") for n, layer in enumerate(layers)),
        media_type=kind,
        annotations=annotations,
    )


def load_object(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object that `data` is. Raises ImageError, naming `what`."""
    if len(data) > LARGEST_DOCUMENT_BYTES:
        raise ImageError(f"{what} is of {len(data)} bytes, and {LARGEST_DOCUMENT_BYTES} is the most")
    try:
        return as_object(json.loads(data), what)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{what} is no JSON: {error}") from None


def as_object(data: object, what: str) -> dict[str, Any]:
    """`data`, when it is a JSON object. Raises ImageError, naming `what`."""
    if not isinstance(data, dict):
        raise ImageError(f"{what} is no JSON object")
    return cast("dict[str, Any]", data)


def _guess(given: Mapping[str, Any]) -> str:
    # mediaType is optional in OCI documents; one of the two lists is there.
    return INDEX_TYPE if "manifests" in given else MANIFEST_TYPE


def _platform(data: object, what: str) -> Platform:
    given = as_object(data, f"{what}: platform")
    words = [_text(given.get(name) or "", f"{what}: platform {name}") for name in ("os", "architecture", "variant")]
    return Platform(os=words[0], architecture=words[1], variant=words[2])


def _text(data: object, what: str) -> str:
    if not isinstance(data, str) or "\0" in data or any("\ud800" <= character <= "\udfff" for character in data):
        raise ImageError(f"{what} {data!r:.100} is no text")
    return data


def _texts(data: object, what: str) -> dict[str, str]:
    given = {} if data is None else as_object(data, what)
    return {_text(key, f"{what}: key"): _text(value, f"{what}: {key!r:.100}") for key, value in given.items()}


def _list(data: object, what: str) -> Sequence[object]:
    if not isinstance(data, list):
        raise ImageError(f"{what} is no list")
    return cast("list[object]", data)


def _dumped(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()
