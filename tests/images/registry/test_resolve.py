"""What a name stands for, asked of a real registry: every platform, and no layer."""

from __future__ import annotations

import json

import pytest
from images.registry.fault_proxy import FaultProxy
from images.registry.servers import Image, image_of, index_of, publish
from needs import needs

from lxsandbox.errors import ImageError
from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import CONFIG_TYPE, Descriptor, Manifest, Platform
from lxsandbox.images.registry import Registry, RegistryError, resolve_image

pytestmark = needs("docker-registry")

AMD64 = Platform(architecture="amd64")
ARM64 = Platform(architecture="arm64", variant="v8")


def test_an_index_gives_the_digest_for_each_platform_and_fetches_nothing_below(
    open_registry: str, proxy: FaultProxy, registry: Registry
) -> None:
    children = [image_of(b"one", platform=AMD64), image_of(b"two", platform=ARM64)]
    publish(open_registry, "team/many", "1", index_of(*children))

    found = resolve_image(registry, "team/many", "1")

    assert found == {AMD64: children[0].digest, ARM64: children[1].digest}
    assert proxy.count("GET", "/manifests/") == 1
    assert proxy.count("GET", "/blobs/") == 0


def test_an_image_for_one_platform_is_told_by_its_configuration(
    open_registry: str, proxy: FaultProxy, registry: Registry
) -> None:
    image = image_of(b"a layer")
    publish(open_registry, "team/single", "1", image)

    assert resolve_image(registry, "team/single", "1") == {AMD64: image.digest}
    assert proxy.count("GET", digest_of(b"a layer")) == 0


def test_an_index_within_an_index_and_an_entry_with_no_platform_count_too(open_registry: str, registry: Registry) -> None:
    unsaid = image_of(b"unsaid")
    inner = index_of(image_of(b"inner", platform=ARM64))
    publish(open_registry, "team/nested", "1", index_of(inner, unsaid))

    found = resolve_image(registry, "team/nested", "1")

    assert found == {AMD64: unsaid.digest, ARM64: inner.children[0].digest}


def test_attestations_other_systems_and_what_is_no_platform_are_left_out(open_registry: str, registry: Registry) -> None:
    windows = image_of(b"windows", platform=Platform(os="windows", architecture="amd64"))
    strange = image_of(b"strange", platform=Platform(architecture='amd"\n64'))
    unknown = image_of(b"unknown", platform=Platform(os="unknown", architecture="unknown"))
    linux = image_of(b"linux", platform=AMD64)
    publish(open_registry, "team/mixed", "1", index_of(windows, strange, unknown, linux))

    assert resolve_image(registry, "team/mixed", "1") == {AMD64: linux.digest}


def test_no_image_for_linux_is_an_error(open_registry: str, registry: Registry) -> None:
    publish(open_registry, "team/windows", "1", index_of(image_of(b"w", platform=Platform(os="windows", architecture="amd64"))))

    with pytest.raises(ImageError, match=r"team/windows: 1 has no image for Linux"):
        resolve_image(registry, "team/windows", "1")


def test_a_name_that_is_not_there_is_the_registrys_error(proxy: FaultProxy, registry: Registry) -> None:
    with pytest.raises(RegistryError, match="team/nowhere") as caught:
        resolve_image(registry, "team/nowhere", "1")
    assert caught.value.status == 404


def test_an_index_of_endless_indexes_ends(open_registry: str, registry: Registry) -> None:
    deep: Image = image_of(b"deep", platform=AMD64)
    for _ in range(60):
        deep = index_of(deep)
    publish(open_registry, "team/deep", "1", deep)

    with pytest.raises(ImageError, match="more than 50 documents"):
        resolve_image(registry, "team/deep", "1")


def test_a_configuration_that_cannot_be_one_is_not_fetched(open_registry: str, proxy: FaultProxy, registry: Registry) -> None:
    layer = Descriptor(media_type=CONFIG_TYPE, digest=digest_of(b"x" * (5 << 20)), size=5 << 20)
    data = Manifest(config=layer, layers=()).as_bytes()
    blob = {layer.digest: b"x" * layer.size}
    described = Descriptor(media_type=json.loads(data)["mediaType"], digest=digest_of(data), size=len(data))
    publish(open_registry, "team/huge", "1", Image(descriptor=described, data=data, blobs=blob))

    with pytest.raises(ImageError, match=r"is of 5242880 bytes, which none is"):
        resolve_image(registry, "team/huge", "1")
    assert proxy.count("GET", "/blobs/") == 0
