"""`image="registry/name:tag"`: fetched once, for all, and from then on with no network."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from events import until, wait_for_end
from images.registry.fault_proxy import dropped, running_proxy, stalled
from images_real.conftest import Shelf
from needs import needs

from lxsandbox import ImageError, Sandbox, SandboxError
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


def test_a_run_that_ends_does_not_wait_for_a_registry_that_says_nothing(store: Path, shelf: Shelf, registry: str) -> None:
    image = shelf.push(registry, "team/app", "hello")
    with running_proxy(registry) as proxy:
        proxy.on("GET", "/blobs/", stalled)
        connection = ServiceConnection.open()
        with ThreadPoolExecutor(1) as threads:
            asking = threads.submit(Sandbox, image.replace(registry, proxy.host), connection=connection)
            until(lambda: proxy.count("GET", "/blobs/"), "a layer is being fetched")
            connection.leave()
            wait_for_end(connection.hello.pid, seconds=5)

        assert isinstance(asking.exception(), SandboxError)


def test_what_a_killed_run_has_fetched_is_taken_up_by_the_next(store: Path, shelf: Shelf, registry: str) -> None:
    image = shelf.push(registry, "team/app", "hello")
    with running_proxy(registry) as proxy:
        proxy.on("GET", shelf.layer_digest, dropped(after=100_000), times=1)
        proxy.on("GET", shelf.layer_digest, stalled, times=1)
        connection = ServiceConnection.open()
        with ThreadPoolExecutor(1) as threads:
            asking = threads.submit(Sandbox, image.replace(registry, proxy.host), connection=connection)
            until(lambda: proxy.count("GET", shelf.layer_digest) == 2, "it is tried a second time")
            os.kill(connection.hello.pid, signal.SIGKILL)
            assert isinstance(asking.exception(), SandboxError)
        with suppress(SandboxError):
            connection.leave()

        proxy.asked.clear()
        again = ServiceConnection.open()
        with Sandbox(image.replace(registry, proxy.host), connection=again) as box:
            assert box.path("/text").read_text() == "hello"
        again.leave()
        (asked,) = proxy.requests("GET", shelf.layer_digest)
        assert asked.headers["Range"] == "bytes=100000-"
