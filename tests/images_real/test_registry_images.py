"""`image="registry/name:tag"`: fetched once, for all, and from then on with no network."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from images.registry.fault_proxy import running_proxy
from images_real.conftest import Shelf
from needs import needs

from lxsandbox import ImageError, Sandbox
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs", "busybox", "docker-registry")

Start = Callable[..., Sandbox]


def test_an_image_is_fetched_once_for_all_sandboxes_of_a_run(start: Start, shelf: Shelf, registry: str) -> None:
    with running_proxy(registry) as proxy:
        image = shelf.push(registry, "team/app", "hello").replace(registry, proxy.host)
        with ThreadPoolExecutor(8) as threads:
            texts = list(threads.map(lambda _: start(image).path("/text").read_text(), range(8)))

        assert texts == ["hello"] * 8
        assert proxy.count("GET", "/blobs/") == 2  # one layer, one configuration


def test_a_second_run_touches_no_network(store: Path, shelf: Shelf, registry: str) -> None:
    with running_proxy(registry) as proxy:
        image = shelf.push(registry, "team/app", "hello").replace(registry, proxy.host)
        for _ in range(2):
            connection = ServiceConnection.open()
            with Sandbox(image, connection=connection) as box:
                assert box.path("/text").read_text() == "hello"
            connection.leave()
            asked = len(proxy.asked)
            proxy.asked.clear()

        assert asked == 0


def test_an_image_that_is_not_there_says_which_registry_and_repository(start: Start, registry: str) -> None:
    with pytest.raises(ImageError, match=f"{registry}.*team/nothing") as caught:
        start(f"{registry}/team/nothing:1")
    assert caught.value.hint


def test_after_a_failure_it_is_tried_again(start: Start, shelf: Shelf, registry: str) -> None:
    with pytest.raises(ImageError):
        start(f"{registry}/team/late:1")

    assert start(shelf.push(registry, "team/late", "now")).path("/text").read_text() == "now"


def test_images_share_what_they_have_in_common(start: Start, store: Path, shelf: Shelf, registry: str) -> None:
    for name, texts in (("one", ("base", "first")), ("two", ("base", "second"))):
        assert start(shelf.push(registry, f"team/{name}", *texts)).path("/text").read_text() == texts[-1]

    (ids,) = os.listdir(store / "layers")
    unpacked = [name for name in os.listdir(store / "layers" / ids) if not name.endswith((".seal", ".used"))]
    assert len(unpacked) == 3
