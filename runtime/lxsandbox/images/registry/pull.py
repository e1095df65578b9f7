"""Pulling: from a name to the manifest for a platform, and everything it refers to, in the store.

Source: distribution-spec v1.1 "Pulling"; image-spec v1.1 image-index.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import (
    INDEX_TYPES,
    LARGEST_DOCUMENT_BYTES,
    Descriptor,
    Manifest,
    Platform,
    parse_manifest,
)
from lxsandbox.images.registry.client import Registry
from lxsandbox.images.registry.download import fetch_blob
from lxsandbox.images.registry.failures import printable
from lxsandbox.images.registry.parallel import Transfer, run_all
from lxsandbox.images.registry.platforms import candidates, suitable
from lxsandbox.images.registry.progress import Progress, Silent

__all__ = ["pull_image"]

_DEEPEST_INDEX = 3
_MOST_INDEXES = 20
_MOST_NAMED = 20


def pull_image(
    registry: Registry,
    repository: str,
    tag_or_digest: str,
    blobs: Blobs,
    platform: Platform,
    progress: Progress | None = None,
) -> Descriptor:
    """Have the image of that name for `platform` in `blobs`: manifest, configuration, layers. Returns the manifest's descriptor.

    Of what is there already nothing is fetched. Raises ImageError, OSError on a full disk; what came whole before stays, and
    what came in part is taken up the next time.
    """
    found = _Search(registry, repository, blobs, platform).named(tag_or_digest)
    told = progress or Silent()

    def transfer(blob: Descriptor) -> Transfer:
        return lambda stopped: fetch_blob(registry, repository, blob, blobs, progress=told, stopped=stopped)

    wanted = {blob.digest: blob for blob in (found.manifest.config, *found.manifest.layers)}
    run_all(map(transfer, wanted.values()))
    # Last, so that a manifest in the store means that all of its image is there.
    blobs.take_in(found.descriptor.digest, found.descriptor.size, [found.data])
    return found.descriptor


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    descriptor: Descriptor
    manifest: Manifest
    data: bytes


class _Search:
    """For one platform's manifest below a name."""

    def __init__(self, registry: Registry, repository: str, blobs: Blobs, platform: Platform) -> None:
        self._registry = registry
        self._repository = repository
        self._subject = registry.subject(repository)
        self._blobs = blobs
        self._platform = platform
        self._others: list[Descriptor] = []
        self._indexes = 0

    def named(self, tag_or_digest: str) -> _Found:
        """Raises ImageError, with the platforms that there are, when none fits."""
        data, media_type, digest = self._document(tag_or_digest)
        found = self._below(data, Descriptor(media_type=media_type, digest=digest, size=len(data)))
        if found is not None:
            return found
        names = sorted({printable(str(each.platform), at_most=40) for each in self._others})
        raise self._subject.error(
            f"{tag_or_digest} has no image for {self._platform}, but for: {', '.join(names[:_MOST_NAMED]) or 'nothing'}",
            hint="choose another tag, or the platform of one that this machine can run",
        )

    def _document(self, tag_or_digest: str) -> tuple[bytes, str, str]:
        if ":" in tag_or_digest and self._blobs.has(tag_or_digest):
            data = self._blobs.read(tag_or_digest, at_most=LARGEST_DOCUMENT_BYTES)
            return data, parse_manifest(data, what=f"manifest {tag_or_digest}").media_type, tag_or_digest
        return self._registry.pull_manifest(self._repository, tag_or_digest)

    def _below(self, data: bytes, descriptor: Descriptor, depth: int = 0) -> _Found | None:
        what = f"{self._subject}: manifest {descriptor.digest}"
        parsed = parse_manifest(data, media_type=descriptor.media_type, what=what)
        if isinstance(parsed, Manifest):
            return _Found(descriptor=replace(descriptor, media_type=parsed.media_type), manifest=parsed, data=data)
        chosen = suitable(parsed.manifests, self._platform)
        if chosen is not None:
            return self._at(chosen, depth)
        self._others += candidates(parsed.manifests)
        inner = (self._at(entry, depth) for entry in parsed.manifests if entry.media_type in INDEX_TYPES)
        return next((found for found in inner if found is not None), None)

    def _at(self, entry: Descriptor, depth: int) -> _Found | None:
        self._indexes += 1
        if depth >= _DEEPEST_INDEX or self._indexes > _MOST_INDEXES:
            raise self._subject.error(f"more than {_DEEPEST_INDEX} indexes within each other, or {_MOST_INDEXES} in all")
        data, _, _ = self._document(entry.digest)
        if len(data) != entry.size:
            raise self._subject.error(f"manifest {entry.digest} has {len(data)} bytes, and its index says {entry.size}")
        return self._below(data, entry, depth + 1)
