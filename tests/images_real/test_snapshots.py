"""`snapshot()`: what a sandbox has in its root becomes an image, and sandboxes over that have it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from images_real.conftest import Shelf
from needs import needs

from lxsandbox import Image, ImageError, Sandbox

pytestmark = needs("user-namespaces", "overlayfs", "busybox")

Start = Callable[..., Sandbox]


@pytest.fixture
def base(shelf: Shelf) -> str:
    """An image with an owner, a mode, a link and two folders with a file each."""
    return shelf.layout("a", command=("sleep", "1000"), env={"WHO": "image"})


def sh(sandbox: Sandbox, script: str) -> str:
    return sandbox.check_output(["sh", "-ec", script])


def test_a_sandbox_over_a_snapshot_has_what_was_written(start: Start, base: str) -> None:
    before = start(base)
    sh(before, "echo hello > /new; mkdir -p /a/b; echo deep > /a/b/c; rm /text")

    after = start(before.snapshot("prepared"))

    assert sh(after, "cat /new /a/b/c") == "hello\ndeep\n"
    assert not after.path("/text").exists()
    assert after.diff() == []


def test_it_is_started_by_its_name_as_any_image_is(start: Start, base: str) -> None:
    before = start(base)
    sh(before, "echo hello > /new")
    before.snapshot("prepared")

    assert start("prepared").path("/new").read_text() == "hello\n"
    assert start("docker.io/library/prepared:latest").path("/new").read_text() == "hello\n"


def test_owners_modes_and_links_are_as_they_were(start: Start, base: str) -> None:
    before = start(base)
    sh(before, "echo x > /one; ln /one /two; chmod 4751 /one; ln -s one /link; mkdir -m 1777 /sticky; mkfifo /fifo")
    look = "stat -c '%n %F %a %u:%g %h' /one /two /link /sticky /fifo; readlink /link"

    after = start(before.snapshot())

    assert sh(after, look) == sh(before, look)
    assert sh(after, "stat -c %i /one") == sh(after, "stat -c %i /two")


def test_a_sandbox_starts_over_it_as_over_its_image(start: Start, base: str) -> None:
    before = start(base, env={"WHO": "spec"}, cwd="/bin", command=["sleep", "2000"])

    image = before.snapshot()

    assert (image.command, dict(image.env), image.cwd) == (("sleep", "1000"), {"WHO": "image"}, "")


def test_an_older_name_still_starts_what_it_stood_for(start: Start, base: str) -> None:
    sandbox = start(base)
    for number in (1, 2, 3):
        sh(sandbox, f"echo {number} > /version; touch /only{number}")
        sandbox.snapshot(f"version:{number}")

    first, last = start("version:1"), start("version:3")

    assert first.path("/version").read_text() == "1\n"
    assert sh(last, "cat /version; ls -d /only*") == "3\n/only1\n/only2\n/only3\n"
    assert sh(first, "ls -d /only*") == "/only1\n"


def test_snapshots_of_snapshots_of_snapshots_add_up(start: Start, base: str) -> None:
    sandbox = start(base)
    for number in (1, 2, 3):
        sh(sandbox, f"echo {number} > /file{number}; rm -f /file{number - 1}")
        sandbox = start(sandbox.snapshot())

    assert sh(sandbox, "ls -d /file*") == "/file3\n"
    assert sandbox.diff() == []


def test_a_name_that_is_given_again_means_the_last_one(start: Start, base: str) -> None:
    sandbox = start(base)
    for number in (1, 2):
        sh(sandbox, f"echo {number} > /version")
        sandbox.snapshot("prepared")

    assert start("prepared").path("/version").read_text() == "2\n"


def test_a_paused_sandbox_stays_paused(start: Start, base: str) -> None:
    before = start(base)
    sh(before, "echo hello > /new")
    before.pause()

    after = start(before.snapshot())

    assert before.state == "paused"
    assert after.path("/new").read_text() == "hello\n"
    before.resume()
    assert before.path("/new").read_text() == "hello\n"


def test_the_same_content_has_the_same_digest(start: Start, base: str) -> None:
    sandbox = start(base)
    sh(sandbox, "echo hello > /new")

    first, second = sandbox.snapshot("one"), sandbox.snapshot("two")

    assert first.digest == second.digest
    assert (first.reference, second.reference) == ("one:latest", "two:latest")


def test_where_nothing_was_changed_the_image_is_the_same_one(start: Start, base: str) -> None:
    before = start(base)
    image = before.snapshot("same")

    assert start(image).snapshot().digest == image.digest


def test_without_a_name_it_is_known_by_its_digest(start: Start, base: str) -> None:
    sandbox = start(base)
    sh(sandbox, "echo hello > /new")

    image = sandbox.snapshot()

    assert image.reference == image.digest
    assert start(image.digest).path("/new").read_text() == "hello\n"


def test_a_digest_that_the_store_lacks_is_told_with_a_hint(start: Start) -> None:
    with pytest.raises(ImageError, match="there is no image sha256:0000") as caught:
        start(f"sha256:{64 * '0'}")
    assert "prune" in caught.value.hint


@pytest.mark.parametrize("name", ["", "host", "tar:x", "UPPER", "a@sha256:" + 64 * "0", "a b", "a:", "../x"])
def test_a_bad_name_is_refused(start: Start, base: str, name: str) -> None:
    sandbox = start(base)

    with pytest.raises(ImageError):
        sandbox.snapshot(name)
    assert sh(sandbox, "echo on") == "on\n"


def test_a_folder_is_no_image_to_add_to(start: Start, shelf: Shelf) -> None:
    with pytest.raises(ImageError, match="in no store") as caught:
        start(f"dir:{shelf.place}/root").snapshot()
    assert "lxsandbox image import" in caught.value.hint


def test_what_no_layer_can_hold_is_refused_and_named(start: Start, base: str) -> None:
    sandbox = start(base)
    sh(sandbox, "echo x > /.wh.name")

    with pytest.raises(ImageError, match=r"/\.wh\.name"):
        sandbox.snapshot("refused")
    with pytest.raises(ImageError):
        start("127.0.0.1:1/refused")
    assert isinstance(start(base).snapshot("refused"), Image)
