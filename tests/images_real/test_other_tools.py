"""umoci and skopeo write what sandboxes start over, and read what is exported: the same tree, to the last attribute."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from images.unpack.unpacking import Looked, look
from images_real.everything import FOLDERS, make_layers, make_tree, run, unpacked_by_umoci
from needs import needs

from lxsandbox import Bind, Sandbox
from lxsandbox.images.archives import export_docker_archive, export_layout, export_oci_archive
from lxsandbox.images.digests import digest_of
from lxsandbox.images.library import HeldImage, Library
from lxsandbox.images.registry import Registry, push_image
from lxsandbox.images.store import Store

pytestmark = needs("root", "user-namespaces", "overlayfs", "umoci", "skopeo", "docker-registry", "tar")

Start = Callable[..., Sandbox]
PLAIN_HTTP = ("--dest-tls-verify=false", "--src-tls-verify=false")


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A layout by umoci with everything in it, as the image `it`."""
    with tempfile.TemporaryDirectory(prefix="everything-") as folder:
        yield make_layers(Path(folder))


@pytest.fixture(scope="module")
def expected(made: Path) -> Looked:
    """What umoci makes of that image."""
    looked = unpacked_by_umoci(made, "it", made.parent / "expected")
    assert len(looked) > 25
    return looked


def copy(source: str, target: str, *options: str) -> None:
    run("skopeo", "--insecure-policy", "copy", *options, source, target)


def digest(image: str) -> str:
    """Of the image's manifest, as skopeo has it."""
    return str(json.loads(run("skopeo", "inspect", "--tls-verify=false", image))["Digest"])


def seen_inside(start: Start, image: str) -> Looked:
    """The tree that processes in a sandbox see, looked at by this Python, which is bound into it."""
    folders = {"/usr", "/lib", "/lib64", sys.prefix, sys.base_prefix}
    mounts = [Bind(folder, folder) for folder in sorted(folders) if Path(folder).exists()]
    seen: Looked = start(image, mounts=mounts).call(look, Path("/"), *FOLDERS)
    return seen


# Where skopeo copies the image to, one after the other; the last is what a sandbox is started over.
ROUTES = {
    "as umoci left it": [],
    "oci": ["oci:{place}/copied:it"],
    "oci with zstd": ["oci:{place}/copied:it"],
    "oci-archive": ["oci-archive:{place}/archive.tar:it"],
    "docker-archive": ["docker-archive:{place}/archive.tar:team/app:it"],
    "dir and back": ["dir:{place}/folder", "oci:{place}/copied:it"],
    "a registry": ["docker://{registry}/team/app:it"],
}


@pytest.mark.parametrize("name", ROUTES)
def test_a_sandbox_has_the_tree_that_umoci_unpacks(
    start: Start, made: Path, expected: Looked, place: Path, registry: str, name: str
) -> None:
    route = [f"oci:{made}:it", *(step.format(place=place, registry=registry) for step in ROUTES[name])]
    for source, target in pairwise(route):
        copy(source, target, *PLAIN_HTTP, *(["--dest-compress-format=zstd"] if "zstd" in name else []))

    assert seen_inside(start, route[-1]) == expected


@pytest.fixture
def library(place: Path) -> Library:
    return Library(Store(str(place / "library")))


@pytest.fixture(params=["what umoci wrote", "a folder"])
def image(request: pytest.FixtureRequest, library: Library, made: Path, place: Path) -> Iterator[HeldImage]:
    """An image of ours: one that was fetched and stayed what it was, and one that was packed here."""
    if request.param == "a folder":
        make_tree(place / "tree")
    text = f"dir:{place}/tree" if request.param == "a folder" else f"oci:{made}:it"
    with library.get(library.parse(text)) as found:
        yield found


@pytest.fixture
def original(image: HeldImage, request: pytest.FixtureRequest, place: Path) -> Looked:
    """The tree that the image is of."""
    if (place / "tree").exists():
        return look(place / "tree", *FOLDERS)
    looked: Looked = request.getfixturevalue("expected")
    return looked


def export(image: HeldImage, library: Library, form: str, target: str) -> None:
    """Write the image to what skopeo calls `target`."""
    path, tag = target.partition(":")[2].rpartition(":")[::2]
    blobs = library.store.blobs
    if form == "docker-archive":
        export_docker_archive(image.descriptor, blobs, path.removesuffix(":team/app"), "team/app:it")
    elif form == "registry":
        host, repository = path.removeprefix("//").split("/", 1)
        with Registry(host, credentials=lambda name, where: None) as registry:
            push_image(registry, repository, tag, image.descriptor, blobs)
    else:
        {"oci": export_layout, "oci-archive": export_oci_archive}[form](image.descriptor, blobs, path, tag)


EXPORTS = {
    "oci": "oci:{place}/exported:it",
    "oci-archive": "oci-archive:{place}/exported.tar:it",
    "docker-archive": "docker-archive:{place}/exported.tar:team/app:it",
    "registry": "docker://{registry}/team/app:it",
}


@pytest.mark.parametrize("form", EXPORTS)
def test_what_is_exported_is_read_by_skopeo_and_unpacked_by_umoci(
    image: HeldImage, original: Looked, library: Library, place: Path, registry: str, form: str
) -> None:
    target = EXPORTS[form].format(place=place, registry=registry)
    export(image, library, form, target)

    copy(target, f"oci:{place}/copied:it", *PLAIN_HTTP)
    config = run("skopeo", "inspect", "--tls-verify=false", "--config", "--raw", target)
    assert digest_of(config.encode()) == image.manifest.config.digest
    if form != "docker-archive":  # which has no manifest of its own, and no compressed layers
        assert digest(target) == image.descriptor.digest
        assert digest(f"oci:{place}/copied:it") == image.descriptor.digest
    # umoci knows no layers in zstd, which image-spec 1.1 (layer.md, "+zstd Media Types") allows and which folders are packed in.
    copy(target, f"oci:{place}/gzip:it", *PLAIN_HTTP, "--dest-compress-format=gzip")
    assert unpacked_by_umoci(place / "gzip", "it", place / "bundle") == original
