"""Pulling from a real registry: the right image, whole, fetched once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from images.registry.conftest import QUICK
from images.registry.fault_proxy import FaultProxy, answer
from images.registry.servers import LOGIN, image_of, index_of, publish
from needs import needs

from lxsandbox import ImageError
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import Platform
from lxsandbox.images.registry import Credentials, Registry, RegistryError, host_platform, pull_image

pytestmark = needs("docker-registry")

AMD64 = Platform(architecture="amd64")
ARM64 = Platform(architecture="arm64", variant="v8")
LAYERS = (os.urandom(300_000), os.urandom(200_000), os.urandom(10))
IMAGE = image_of(*LAYERS)


def stored(blobs: Blobs) -> set[str]:
    return {f"sha256:{path.name}" for path in Path(blobs.folder).glob("blobs/sha256/*")}


def test_an_image_is_its_manifest_its_config_and_its_layers(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    publish(proxy.upstream, "team/app", "1.0", IMAGE)

    descriptor = pull_image(registry, "team/app", "1.0", blobs, AMD64)

    assert descriptor == IMAGE.descriptor
    assert stored(blobs) == {IMAGE.digest, *IMAGE.blobs}
    for digest, data in IMAGE.blobs.items():
        assert blobs.read(digest, at_most=len(data)) == data
    assert {asked.headers["Accept-Encoding"] for asked in proxy.asked} == {"identity"}


def test_an_image_is_found_by_its_digest_too(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    publish(proxy.upstream, "team/app", "1.0", IMAGE)

    assert pull_image(registry, "team/app", IMAGE.digest, blobs, AMD64) == IMAGE.descriptor


def test_what_is_there_is_not_fetched_again(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    publish(proxy.upstream, "team/app", "1.0", IMAGE)
    pull_image(registry, "team/app", "1.0", blobs, AMD64)
    proxy.asked.clear()

    pull_image(registry, "team/app", "1.0", blobs, AMD64)
    assert [asked.path for asked in proxy.asked] == ["/v2/team/app/manifests/1.0"]

    pull_image(registry, "team/app", IMAGE.digest, blobs, AMD64)
    assert len(proxy.asked) == 1


def test_a_layer_that_is_listed_twice_is_fetched_once(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    publish(proxy.upstream, "team/twice", "1.0", image_of(LAYERS[0], LAYERS[0]))

    pull_image(registry, "team/twice", "1.0", blobs, AMD64)

    assert proxy.count("GET", "/blobs/") == 2


def test_an_index_gives_the_image_of_the_platform(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    amd64, arm64 = image_of(b"a", platform=AMD64), image_of(b"b", platform=ARM64)
    publish(proxy.upstream, "team/multi", "1.0", index_of(amd64, arm64))

    assert pull_image(registry, "team/multi", "1.0", blobs, ARM64) == arm64.descriptor
    assert amd64.digest not in stored(blobs)


def test_an_index_within_an_index_is_looked_into(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    inner = image_of(b"a", platform=AMD64)
    publish(proxy.upstream, "team/multi", "deep", index_of(index_of(inner), image_of(b"b", platform=ARM64)))

    assert pull_image(registry, "team/multi", "deep", blobs, AMD64) == inner.descriptor


def test_an_index_that_is_wrong_about_a_size_is_refused(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    image = image_of(b"a", platform=AMD64)
    index = index_of(image)
    wrong = index.data.replace(f'"size":{len(image.data)}'.encode(), b'"size":5')
    publish(proxy.upstream, "team/multi", "size", index)
    proxy.on("GET", "/manifests/size", answer(200, wrong, Content_Type=index.descriptor.media_type))

    with pytest.raises(RegistryError, match=f"manifest {image.digest} has {len(image.data)} bytes, and its index says 5"):
        pull_image(registry, "team/multi", "size", blobs, AMD64)


def test_where_no_platform_fits_those_that_there_are_are_named(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    attestation = image_of(b"c", platform=Platform(os="unknown", architecture="unknown"))
    other = image_of(b"d", platform=Platform(os="windows", architecture="amd64"))
    publish(proxy.upstream, "team/multi", "2.0", index_of(image_of(b"b", platform=ARM64), attestation, other))

    with pytest.raises(
        ImageError, match=r"team/multi: 2\.0 has no image for linux/s390x, but for: linux/arm64/v8, windows/amd64\n"
    ):
        pull_image(registry, "team/multi", "2.0", blobs, Platform(architecture="s390x"))
    assert not stored(blobs)


class Told:
    def __init__(self) -> None:
        self.begun: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        self.ended: list[str] = []

    def begin(self, digest: str, size: int) -> None:
        self.begun[digest] = size

    def advance(self, digest: str, count: int) -> None:
        self.counts[digest] += count

    def end(self, digest: str) -> None:
        self.ended.append(digest)


def test_progress_is_told_for_each_blob(proxy: FaultProxy, registry: Registry, blobs: Blobs) -> None:
    publish(proxy.upstream, "team/app", "1.0", IMAGE)
    told = Told()

    pull_image(registry, "team/app", "1.0", blobs, AMD64, told)

    sizes = {digest: len(data) for digest, data in IMAGE.blobs.items()}
    assert told.begun == sizes
    assert told.counts == sizes
    assert sorted(told.ended) == sorted(sizes)


PULL = """
import sys
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import Platform
from lxsandbox.images.registry import Registry, pull_image
sys.stdin.read(1)
with Registry(sys.argv[1]) as registry:
    pull_image(registry, "team/app", "1.0", Blobs(sys.argv[2]), Platform(architecture="amd64"))
"""


def test_processes_that_pull_one_image_fetch_each_blob_once(proxy: FaultProxy, blobs: Blobs) -> None:
    publish(proxy.upstream, "team/app", "1.0", IMAGE)
    command = [sys.executable, "-c", PULL, proxy.host, blobs.folder]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        process.communicate(b"1")

    assert [process.returncode for process in processes] == [0] * 4
    assert {digest: proxy.count("GET", digest) for digest in IMAGE.blobs} == dict.fromkeys(IMAGE.blobs, 1)
    assert stored(blobs) == {IMAGE.digest, *IMAGE.blobs}


@pytest.mark.parametrize(("repository", "tag"), [("team/app", "none"), ("team/none", "1.0")])
def test_what_does_not_exist_is_said_to_be_so(
    proxy: FaultProxy, registry: Registry, blobs: Blobs, repository: str, tag: str
) -> None:
    publish(proxy.upstream, "team/app", "1.0", IMAGE)

    with pytest.raises(
        RegistryError, match=f"^{proxy.host}/{repository}: manifest {tag}: the registry has no such thing"
    ) as caught:
        pull_image(registry, repository, tag, blobs, AMD64)
    assert caught.value.status == 404
    assert "the name and the tag" in caught.value.hint


def test_a_registry_with_a_login_gives_its_images_to_who_has_it(closed_registry: str, blobs: Blobs) -> None:
    login = Credentials(username=LOGIN[0], password=LOGIN[1])
    publish(closed_registry, "team/app", "1.0", IMAGE, login=login.basic())

    with Registry(closed_registry, credentials=lambda host, repository: login, patience=QUICK) as registry:
        assert pull_image(registry, "team/app", "1.0", blobs, AMD64) == IMAGE.descriptor


@pytest.mark.parametrize("login", [None, Credentials(username="tester", password="wrong")])
def test_without_the_right_login_the_error_says_how_to_log_in(
    closed_registry: str, blobs: Blobs, login: Credentials | None
) -> None:
    with (
        Registry(closed_registry, credentials=lambda host, repository: login, patience=QUICK) as registry,
        pytest.raises(RegistryError, match="wants a login, or another one") as caught,
    ):
        pull_image(registry, "team/app", "1.0", blobs, AMD64)
    assert f"docker login {closed_registry}" in caught.value.hint
    assert "wrong" not in str(caught.value)


def test_this_machine_has_a_platform() -> None:
    assert host_platform().os == "linux"
    assert host_platform().architecture


@pytest.mark.parametrize("name", ["", "Team/app", "../etc", "a//b", "a/", "a b", "a" * 256, "a/../b", "a?b"])
def test_what_is_no_repository_is_not_asked_for(registry: Registry, proxy: FaultProxy, name: str) -> None:
    with pytest.raises(ImageError, match="no name of a repository"):
        registry.pull_manifest(name, "1.0")
    assert not proxy.asked


@pytest.mark.parametrize("tag", ["", "../x", "a/b", "-a", "a" * 129, "sha256:abc", "a b", "a\n"])
def test_what_is_no_tag_is_not_asked_for(registry: Registry, proxy: FaultProxy, tag: str) -> None:
    with pytest.raises(ImageError, match=r"is no tag|is not a digest"):
        registry.pull_manifest("team/app", tag)
    assert not proxy.asked
