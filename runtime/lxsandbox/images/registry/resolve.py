"""What a name stands for in a registry now, for every platform; nothing but documents is fetched.

Source: image-spec v1.1 image-index.md.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace

from lxsandbox.errors import ImageError
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.config import parse_config
from lxsandbox.images.documents import (
    INDEX_TYPES,
    LARGEST_DOCUMENT_BYTES,
    Manifest,
    Platform,
    parse_manifest,
)
from lxsandbox.images.platforms import candidates, parse_platform
from lxsandbox.images.registry.client import Registry
from lxsandbox.images.registry.download import fetch_blob
from lxsandbox.images.registry.progress import Silent
from lxsandbox.images.registry.stop import Stop

__all__ = ["resolve_image"]

_MOST_DOCUMENTS = 50


def resolve_image(registry: Registry, repository: str, tag_or_digest: str) -> dict[Platform, str]:
    """The digest of the manifest for each platform that the image is there for; those of other systems than Linux are left out.

    Raises ImageError, also where no image is left.
    """
    search = _Search(registry, repository)
    search.add(tag_or_digest)
    if not search.found:
        raise registry.subject(repository).error(f"{tag_or_digest} has no image for Linux", hint="choose another tag")
    return search.found


class _Search:
    """Through a document, and the indexes within it. Of two images for a platform the first counts, as it does for a pull."""

    def __init__(self, registry: Registry, repository: str) -> None:
        self._registry = registry
        self._repository = repository
        self._subject = registry.subject(repository)
        self._seen: set[str] = set()
        self.found: dict[Platform, str] = {}

    def add(self, tag_or_digest: str) -> None:
        if tag_or_digest in self._seen:
            return
        self._seen.add(tag_or_digest)
        if len(self._seen) > _MOST_DOCUMENTS:
            raise self._subject.error(f"more than {_MOST_DOCUMENTS} documents have to be read to know its platforms")
        data, media_type, digest = self._registry.pull_manifest(self._repository, tag_or_digest)
        parsed = parse_manifest(data, media_type=media_type, what=f"{self._subject}: manifest {digest}")
        if isinstance(parsed, Manifest):
            self._keep(self._platform_of(parsed), digest)
            return
        for entry in candidates(parsed.manifests):
            if entry.platform is None:
                self.add(entry.digest)
            else:
                self._keep(entry.platform, entry.digest)
        for entry in parsed.manifests:
            if entry.media_type in INDEX_TYPES:
                self.add(entry.digest)

    def _keep(self, platform: Platform, digest: str) -> None:
        platform = replace(platform, os=platform.os.lower() or "linux")  # as `suitable` reads it
        with contextlib.suppress(ImageError):  # one that cannot be written, no machine is
            if platform.os == "linux":
                self.found.setdefault(parse_platform(str(platform)), digest)

    def _platform_of(self, manifest: Manifest) -> Platform:
        config = manifest.config
        if config.size > LARGEST_DOCUMENT_BYTES:
            raise self._subject.error(f"configuration {config.digest} is of {config.size} bytes, which none is")
        with tempfile.TemporaryDirectory(prefix="lxsandbox-") as folder:
            blobs = Blobs(folder)
            fetch_blob(self._registry, self._repository, config, blobs, progress=Silent(), stopped=Stop())
            data = blobs.read(config.digest, at_most=LARGEST_DOCUMENT_BYTES)
        return parse_config(data, what=f"{self._subject}: configuration {config.digest}").platform
