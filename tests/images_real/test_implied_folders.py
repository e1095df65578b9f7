"""A folder of which an upper layer says nothing stays as the image's own lower layers have it, whoever shares the upper one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from events import wait_for_end
from images.unpack.making import END, file, folder
from images_real.conftest import Shelf
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.images.documents import Descriptor
from lxsandbox.images.store import Store
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs", "tmpfs-xattrs", "busybox")

Start = Callable[..., Sandbox]
Over = Callable[[int], str]


@pytest.fixture
def over(shelf: Shelf, place: Path) -> Over:
    """Images of a layer that gives /a and /a/b a mode, and of one that all of them share, with a file in /a/b alone."""
    shared = place / "shared.tar"
    shared.write_bytes(file(b"a/b/new", b"new") + END)

    def over(mode: int) -> str:
        base = place / f"base{mode}.tar"
        base.write_bytes(folder(b"a", mode=mode, mtime=1000) + folder(b"a/b", mode=mode, mtime=2000) + END)
        return shelf.exported(shelf.image_of([shelf.busybox(), base, shared]))

    return over


def seen(box: Sandbox) -> str:
    return box.check_output(["stat", "-c", "%n %a %Y", "/a", "/a/b"]).rstrip()


def test_images_that_share_the_layer_have_each_its_own(start: Start, over: Over) -> None:
    first, second = start(over(0o711)), start(over(0o750))

    assert seen(first) == "/a 711 1000\n/a/b 711 2000"
    assert seen(second) == "/a 750 1000\n/a/b 750 2000"
    assert first.path("/a/b/new").read_text() == "new"
    assert first.diff() == []


def test_they_stay_while_they_are_used(start: Start, over: Over, store: Path) -> None:
    used = start(over(0o711))

    Store(str(store)).prune(all=True)

    assert seen(used) == "/a 711 1000\n/a/b 711 2000"


@needs("root")
def test_a_later_run_makes_them_again(over: Over, store: Path) -> None:
    image = over(0o711)
    kept = Store(str(store))
    (manifest,) = json.loads(Path(image.split(":")[1], "index.json").read_text())["manifests"]
    outcomes = []
    for _ in range(2):
        connection = ServiceConnection.open()
        try:
            with Sandbox(image, connection=connection) as box:
                outcomes.append((seen(box), kept.usage().layers))
        finally:
            connection.leave()
        wait_for_end(connection.hello.pid)
        with kept.lease(Descriptor.from_json(manifest, what="it")):
            kept.prune()
        outcomes.append(("", kept.usage().layers))

    assert outcomes == [("/a 711 1000\n/a/b 711 2000", 4), ("", 3)] * 2


def test_a_snapshot_has_them_and_what_was_changed_in_them(start: Start, over: Over) -> None:
    before = start(over(0o711))
    before.check_output(["sh", "-ec", "chmod 700 /a; echo more > /a/b/more; touch -d @3000 /a /a/b"])

    after = start(before.snapshot())

    assert seen(after) == "/a 700 3000\n/a/b 711 3000"
    assert after.check_output(["ls", "/a/b"]).split() == ["more", "new"]
