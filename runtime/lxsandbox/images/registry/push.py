"""Pushing: what a manifest refers to, then the manifest.

Source: distribution-spec v1.1, "Push".
"""

from __future__ import annotations

from lxsandbox.errors import ImageError
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import LARGEST_DOCUMENT_BYTES, Descriptor, Index, Manifest, parse_manifest
from lxsandbox.images.registry.client import Registry, check_reference, check_repository
from lxsandbox.images.registry.parallel import Transfer, run_all
from lxsandbox.images.registry.progress import Progress, Silent
from lxsandbox.images.registry.session import Request
from lxsandbox.images.registry.upload import Upload

__all__ = ["CHUNK_BYTES", "push_image"]

CHUNK_BYTES = 64 << 20
_DEEPEST_INDEX = 3
# image-spec v1.1 layer.md, "Non-Distributable Layers", and docker's foreign layers: their owners do not allow it.
_NOT_TO_DISTRIBUTE = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)


def push_image(
    registry: Registry,
    repository: str,
    tag: str,
    manifest_descriptor: Descriptor,
    blobs: Blobs,
    mount_from: str | None = None,
    progress: Progress | None = None,
    *,
    chunk_bytes: int = CHUNK_BYTES,
) -> None:
    """Give the image (or, for an index, all of its images) the name `tag` in the repository. Mirrors are not pushed to.

    What the registry has is not sent; `mount_from` is a repository of the same registry to take blobs from. A blob of more
    than `chunk_bytes` goes in pieces of that size. Raises ImageError.
    """
    check_repository(repository)
    check_reference(tag)
    if mount_from is not None:
        check_repository(mount_from)
    _Push(registry, repository, blobs, mount_from, progress or Silent(), chunk_bytes).manifest(manifest_descriptor, tag)


class _Push:
    def __init__(
        self, registry: Registry, repository: str, blobs: Blobs, mount_from: str | None, progress: Progress, chunk_bytes: int
    ) -> None:
        self._session = registry.origin
        self._repository = repository
        self._blobs = blobs
        self._mount_from = mount_from
        self._progress = progress
        self._chunk_bytes = chunk_bytes

    def manifest(self, descriptor: Descriptor, name: str, depth: int = 0) -> None:
        """What it refers to first: a registry refuses a manifest without."""
        data = self._blobs.read(descriptor.digest, at_most=LARGEST_DOCUMENT_BYTES)
        parsed = parse_manifest(data, media_type=descriptor.media_type, what=f"manifest {descriptor.digest}")
        if isinstance(parsed, Manifest):
            self._send_blobs(parsed)
        else:
            self._send_images(parsed, depth)
        self._put(data, parsed.media_type, descriptor.digest, name)

    def _send_images(self, index: Index, depth: int) -> None:
        if depth >= _DEEPEST_INDEX:
            raise ImageError(f"more than {_DEEPEST_INDEX} indexes within each other")
        for entry in index.manifests:
            self.manifest(entry, entry.digest, depth + 1)

    def _send_blobs(self, manifest: Manifest) -> None:
        layers = [layer for layer in manifest.layers if not layer.media_type.startswith(_NOT_TO_DISTRIBUTE)]
        run_all(map(self._transfer, {blob.digest: blob for blob in (manifest.config, *layers)}.values()))

    def _transfer(self, blob: Descriptor) -> Transfer:
        return lambda stopped: Upload(
            self._session,
            self._repository,
            blob,
            self._blobs,
            mount_from=self._mount_from,
            chunk_bytes=self._chunk_bytes,
            stopped=stopped,
        ).run(self._progress)

    def _put(self, data: bytes, media_type: str, digest: str, name: str) -> None:
        request = Request(
            method="PUT",
            url=self._session.url(self._repository, "manifests", name),
            what=f"manifest {name}",
            repository=self._repository,
            expected=(201,),
            actions="pull,push",
            headers={"Content-Type": media_type},
            body=data,
        )
        answer = self._session.fetch_patiently(request)
        said = answer.headers.get("Docker-Content-Digest", digest)
        if said != digest:
            raise self._session.subject(self._repository).error(f"manifest {digest} was kept by the registry as {said:.100}")
