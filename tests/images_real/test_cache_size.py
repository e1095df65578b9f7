"""The store is kept to its size by the runs that let it grow: where it is, how much stays, and what stays all the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from events import wait_for_end
from images_real.conftest import Shelf
from needs import needs

from lxsandbox import Sandbox, SandboxError
from lxsandbox.images.store import Store
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs", "busybox", "docker-registry")

Run = Callable[..., None]


@pytest.fixture
def names(shelf: Shelf, registry: str) -> list[str]:
    """Three images that have nothing in common but their size, over a MiB each."""
    return [shelf.push(registry, f"team/{text}", text) for text in ("first", "second", "third")]


@pytest.fixture
def run(store: Path) -> Run:
    """A run of its own over an image, gone to the last process when this returns."""

    def run(image: str, **settings: str) -> None:
        connection = ServiceConnection.open(**settings)
        try:
            Sandbox(image, connection=connection).close()
        finally:
            connection.leave()
        wait_for_end(connection.hello.pid)

    return run


def make_old(store: Store, name: str, seconds: int) -> None:
    """As if the image had been used last that long after the epoch."""
    descriptor = store.names()[name]
    manifest = store.manifest(descriptor)
    for digest in (descriptor.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)):
        os.utime(store.blobs.path(digest), (seconds, seconds))
    for seal in Path(store.folder, "layers").glob("*/*.seal"):
        if seal.stat().st_mtime > 1000:
            os.utime(seal, (seconds, seconds))


def test_a_run_that_fetched_an_image_leaves_no_more_than_the_size(run: Run, names: list[str], store: Path) -> None:
    first, second, third = names
    run(first)
    make_old(Store(str(store)), first, 1)
    run(second)
    make_old(Store(str(store)), second, 2)
    one = Store(str(store)).usage().bytes // 2

    run(third, cache_size=str(2 * one + one // 2))

    assert sorted(Store(str(store)).names()) == sorted((second, third))
    assert Store(str(store)).usage().layers == 2


def test_what_another_run_holds_or_was_used_lately_stays(run: Run, names: list[str], store: Path) -> None:
    first, second, third = names
    run(first)
    make_old(Store(str(store)), first, 1)
    run(second)
    holder = ServiceConnection.open()
    try:
        with Sandbox(first, connection=holder) as box:
            make_old(Store(str(store)), first, 1)
            run(third, cache_size="1")
            assert box.path("/text").read_text() == "first"
    finally:
        holder.leave()

    assert sorted(Store(str(store)).names()) == sorted(names)


def test_a_run_that_fetched_nothing_removes_nothing(run: Run, names: list[str], store: Path) -> None:
    for seconds, name in enumerate(names[:2], start=1):
        run(name)
        make_old(Store(str(store)), name, seconds)

    run(names[1], cache_size="1")
    run("host", cache_size="1")

    assert sorted(Store(str(store)).names()) == sorted(names[:2])


def test_a_store_that_cannot_be_made_smaller_fails_no_run(run: Run, names: list[str], store: Path) -> None:
    run(names[0])
    (store / "index.json.damaged-1").write_text("{}")  # as long as it may tell what is needed, nothing is removed

    run(names[1], cache_size="1")
    run(names[2], cache_size="much")

    assert sorted(Store(str(store)).names()) == sorted(names)


def test_images_are_kept_where_it_is_said(run: Run, names: list[str], store: Path, place: Path) -> None:
    run(names[0], cache_dir=str(place / "elsewhere"))

    assert list(Store(str(place / "elsewhere")).names()) == [names[0]]
    assert not (store / "blobs").exists()


def test_a_folder_below_no_known_one_is_refused(run: Run, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LXSANDBOX_SANDBOX_CACHE_DIR", "images")

    with pytest.raises(SandboxError, match="LXSANDBOX_SANDBOX_CACHE_DIR=images is below no known folder"):
        run(names[0])
