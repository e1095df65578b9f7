"""Mirrors are asked first, and believed no more than any other source."""

from __future__ import annotations

import os

import pytest
from images.registry.conftest import QUICK
from images.registry.fault_proxy import (
    Exchange,
    Fault,
    FaultProxy,
    answer,
    dropped,
    endless,
    flipped,
    running_proxy,
    truncated,
)
from images.registry.servers import image_of, publish
from needs import needs

from lxsandbox.images.blobs import Blobs
from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import Platform
from lxsandbox.images.registry import Registry, RegistryError, pull_image

pytestmark = needs("docker-registry")

AMD64 = Platform(architecture="amd64")
LAYER = os.urandom(1_000_000)
DIGEST = digest_of(LAYER)
IMAGE = image_of(LAYER)


@pytest.fixture(autouse=True, scope="module")
def published(open_registry: str) -> None:
    publish(open_registry, "team/app", "1.0", IMAGE)


def pull(registry: Registry, blobs: Blobs) -> None:
    pull_image(registry, "team/app", "1.0", blobs, AMD64)
    assert blobs.read(DIGEST, at_most=len(LAYER)) == LAYER


def test_mirrors_are_asked_first_and_then_the_registry_itself(proxy: FaultProxy, blobs: Blobs, open_registry: str) -> None:
    proxy.on("GET", "/manifests/", answer(503))
    with running_proxy() as gone:
        pass

    with running_proxy(open_registry) as good:
        with Registry(open_registry, mirrors=[gone.host, proxy.host, good.host], patience=QUICK) as registry:
            pull(registry, blobs)
        assert good.count("GET", DIGEST) == 0  # the second had the blobs
    assert proxy.count("GET", DIGEST) == 1


@pytest.mark.parametrize("fault", [flipped(0), dropped(100_000), endless, answer(404), truncated(10)])
def test_a_mirror_that_gives_wrong_blobs_is_passed_over(
    proxy: FaultProxy, blobs: Blobs, open_registry: str, fault: Fault
) -> None:
    proxy.on("GET", "/blobs/", fault)

    with Registry(open_registry, mirrors=[proxy.host], patience=QUICK) as registry:
        pull(registry, blobs)
    assert proxy.count("GET", "/blobs/")


def test_a_mirror_that_gives_a_wrong_beginning_is_passed_over(proxy: FaultProxy, blobs: Blobs, open_registry: str) -> None:
    def wrong_and_cut(exchange: Exchange) -> None:
        exchange.send(exchange.forward(), body=bytes(100_000))
        exchange.hang_up()

    proxy.on("GET", DIGEST, wrong_and_cut, times=1)
    proxy.on("GET", DIGEST, answer(404))

    with Registry(open_registry, mirrors=[proxy.host], patience=QUICK) as registry:
        pull(registry, blobs)


def test_a_mirror_that_refuses_the_login_is_not_passed_over(proxy: FaultProxy, blobs: Blobs, open_registry: str) -> None:
    proxy.on("GET", "/manifests/", answer(401))

    with (
        Registry(open_registry, mirrors=[proxy.host], patience=QUICK) as registry,
        pytest.raises(RegistryError, match=f"^{proxy.host}/team/app: .*wants a login"),
    ):
        pull(registry, blobs)


def test_where_all_fail_the_registry_speaks_and_the_mirrors_are_noted(proxy: FaultProxy, blobs: Blobs) -> None:
    proxy.on("GET", "/manifests/", answer(404))
    with running_proxy(proxy.upstream) as mirror:
        mirror.on("GET", "/manifests/", answer(503))
        with (
            Registry(proxy.host, mirrors=[mirror.host], patience=QUICK) as both,
            pytest.raises(RegistryError, match=f"^{proxy.host}/team/app: .*no such thing") as caught,
        ):
            pull(both, blobs)
        assert any(mirror.host in note and "503" in note for note in caught.value.__notes__)
