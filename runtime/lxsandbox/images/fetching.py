"""How each built-in transport fetches an image: what connects references to the parts that do the work."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lxsandbox.errors import ImageError
from lxsandbox.images.archives import import_dir, import_tar, read_docker_archive, read_oci_archive, read_oci_layout
from lxsandbox.images.building.fetching import fetch_build
from lxsandbox.images.debian import fetch_debian
from lxsandbox.images.registry.client import Registry
from lxsandbox.images.registry.pull import pull_image

if TYPE_CHECKING:
    from lxsandbox.images.documents import Descriptor
    from lxsandbox.images.references import DockerArchiveReference, LayoutReference, PathReference, RegistryReference
    from lxsandbox.images.transports import Fetch, FetchContext

__all__ = ["FETCHES", "MIRRORS", "open_registry"]

MIRRORS = "LXSANDBOX_REGISTRY_MIRRORS"  # docker.io=mirror.example:5000, more of them after commas; several for one host too
_INSECURE = "LXSANDBOX_INSECURE_REGISTRIES"  # hosts that are spoken to in plain http, after commas
_DOCKER_HUB, _DOCKER_HUB_ADDRESS = "docker.io", "registry-1.docker.io"


def open_registry(host: str) -> Registry:
    """The registry that images of `host` are in, with the mirrors that the environment names. Raises ImageError."""
    address = _DOCKER_HUB_ADDRESS if host == _DOCKER_HUB else host
    return Registry(address, mirrors=_mirrors(host), insecure=host in _listed(_INSECURE))


def _mirrors(host: str) -> list[str]:
    mirrors: list[str] = []
    for entry in _listed(MIRRORS):
        of, equals, mirror = entry.partition("=")
        if not equals or not of or not mirror:
            raise ImageError(
                f"{MIRRORS}: {entry!r:.100} is not HOST=MIRROR", hint=f"write {MIRRORS}=docker.io=mirror.example:5000"
            )
        if of == host:
            mirrors.append(mirror)
    return mirrors


def _listed(variable: str) -> list[str]:
    return [entry.strip() for entry in os.environ.get(variable, "").split(",") if entry.strip()]


def _from_registry(reference: RegistryReference, context: FetchContext) -> Descriptor:
    with open_registry(reference.host) as registry:
        name = reference.digest or reference.tag
        return pull_image(registry, reference.repository, name, context.blobs, context.platform, context.progress)


def _from_layout(reference: LayoutReference, context: FetchContext) -> Descriptor:
    return read_oci_layout(reference.path, context.blobs, platform=context.platform, tag=reference.tag)


def _from_oci_archive(reference: LayoutReference, context: FetchContext) -> Descriptor:
    return read_oci_archive(reference.path, context.blobs, platform=context.platform, tag=reference.tag)


def _from_docker_archive(reference: DockerArchiveReference, context: FetchContext) -> Descriptor:
    name = str(reference.image) if reference.image else "" if reference.index is None else f"@{reference.index}"
    return read_docker_archive(reference.path, context.blobs, name=name)


def _from_tar(reference: PathReference, context: FetchContext) -> Descriptor:
    return import_tar(reference.path, context.blobs)


def _from_folder(reference: PathReference, context: FetchContext) -> Descriptor:
    return import_dir(reference.path, context.blobs)


FETCHES: Mapping[str, Fetch] = {
    "docker": _from_registry,
    "oci": _from_layout,
    "oci-archive": _from_oci_archive,
    "docker-archive": _from_docker_archive,
    "tar": _from_tar,
    "dir": _from_folder,
    "mmdebstrap": fetch_debian,
    "build": fetch_build,
}
