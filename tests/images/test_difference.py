"""What differs between two images, whose layers are made by hand, block for block."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from images.unpack.making import END, device, file, folder, hard_link, link, pax

from lxsandbox.errors import ImageError
from lxsandbox.images.config import BASE_LABEL, ImageConfig
from lxsandbox.images.difference import differences
from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import CONFIG_TYPE, LAYER_TYPE, Descriptor, Manifest, Platform
from lxsandbox.images.library import HeldImage, Library
from lxsandbox.images.store import Store

Diff = Callable[[list[bytes], list[bytes]], list[str]]

BASE = folder(b"a") + file(b"a/old", b"0") + file(b"a/kept", b"0") + folder(b"a/b") + file(b"a/b/deep", b"0") + file(b"top", b"0")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def diff(store: Store) -> Diff:
    """What differs between an image of these layers and one of those, lowest first, as kinds and paths."""

    def diff(old: list[bytes], new: list[bytes]) -> list[str]:
        return shown(store, made(store, old), made(store, new))

    return diff


def made(store: Store, layers: list[bytes], *, said: list[str] | None = None, over_host: bool = False) -> HeldImage:
    """An image whose configuration says these digests, or the right ones, of its layers, which are compressed."""
    archives = [layer + END for layer in layers]
    blobs = [gzip.compress(archive, mtime=0) for archive in archives]
    described = tuple(Descriptor(media_type=f"{LAYER_TYPE}+gzip", digest=store.blobs.add(blob), size=len(blob)) for blob in blobs)
    labels = {BASE_LABEL: "host"} if over_host else {}
    diff_ids = tuple(said or map(digest_of, archives))
    config = ImageConfig(platform=Platform(architecture="amd64"), diff_ids=diff_ids, labels=labels).as_bytes()
    of_config = Descriptor(media_type=CONFIG_TYPE, digest=store.blobs.add(config), size=len(config))
    manifest = Manifest(config=of_config, layers=described)
    data = manifest.as_bytes()
    return Library(store).of(Descriptor(media_type=manifest.media_type, digest=store.blobs.add(data), size=len(data)))


def shown(store: Store, old: HeldImage, new: HeldImage) -> list[str]:
    with old, new:
        return [f"{each.kind} {each.path}" for each in differences(store, old, new)]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(file(b"a/.wh.old"), ["removed /a/old"], id="a whiteout of a file"),
        pytest.param(file(b".wh.a"), ["removed /a"], id="a whiteout of a folder takes all that is in it"),
        pytest.param(file(b"a/.wh.nothing"), [], id="a whiteout of nothing"),
        pytest.param(file(b".wh.a") + file(b"a/.wh.old"), ["removed /a"], id="a whiteout below another"),
        pytest.param(file(b"a/.wh.new") + file(b"a/new"), ["added /a/new"], id="a whiteout hides nothing of its own layer"),
        pytest.param(file(b"a/new") + file(b"a/.wh.new"), ["added /a/new"], id="nor in the other order"),
        pytest.param(
            file(b"a/new") + file(b"a/.wh..wh..opq"),
            ["removed /a/b", "removed /a/kept", "added /a/new", "removed /a/old"],
            id="an opaque folder",
        ),
        pytest.param(file(b".wh..wh..opq") + file(b"new"), ["removed /a", "added /new", "removed /top"], id="an opaque root"),
        pytest.param(
            folder(b"a/b", mode=0o700) + file(b"a/b/.wh..wh..opq"), ["changed /a/b", "removed /a/b/deep"], id="opaque and changed"
        ),
        pytest.param(file(b"a/b", b"0"), ["changed /a/b"], id="a file in the place of a folder"),
        pytest.param(folder(b"top") + file(b"top/x"), ["changed /top", "added /top/x"], id="a folder in the place of a file"),
        pytest.param(
            file(b"a/b") + folder(b"a/b"), ["removed /a/b/deep"], id="a folder in the place of a file in the place of a folder"
        ),
        pytest.param(link(b"top", b"a/old"), ["changed /top"], id="a link in the place of a file"),
        pytest.param(file(b"top", b"1"), ["changed /top"], id="content of the same length"),
        pytest.param(file(b"top", b"0"), [], id="the same once more"),
        pytest.param(file(b"top", b"0", mode=0o600), ["changed /top"], id="mode alone"),
        pytest.param(file(b"top", b"0", uid=1), ["changed /top"], id="owner alone"),
        pytest.param(file(b"top", b"0", mtime=2), ["changed /top"], id="time alone"),
        pytest.param(pax((b"mtime", b"1.5")) + file(b"top", b"0"), [], id="a part of a second"),
        pytest.param(pax((b"SCHILY.xattr.user.x", b"1")) + file(b"top", b"0"), ["changed /top"], id="an attribute alone"),
        pytest.param(pax((b"SCHILY.xattr.security.selinux", b"1")) + file(b"top", b"0"), [], id="an attribute of the host's"),
        pytest.param(folder(b"a", mode=0o700), ["changed /a"], id="a folder's mode"),
        pytest.param(folder(b"a", mtime=2), [], id="a folder's time"),
        pytest.param(file(b"a/b/new"), ["added /a/b/new"], id="folders that are not described stay as they are"),
        pytest.param(file(b"x/y/new"), ["added /x", "added /x/y", "added /x/y/new"], id="folders that nobody describes"),
        pytest.param(
            link(b"l", b"x/y") + file(b"l/new"), ["added /l", "added /x", "added /x/y", "added /x/y/new"], id="through a link"
        ),
        pytest.param(device(b"top", 1, 3), ["changed /top"], id="a device"),
        pytest.param(device(b"top", 0, 0), [], id="a device that is none"),
        pytest.param(file(b"\xff"), ["added /\udcff"], id="a name that is not UTF-8"),
    ],
)
def test_a_layer_more_is_what_it_changes(diff: Diff, layer: bytes, expected: list[str]) -> None:
    assert diff([BASE], [BASE, layer]) == expected


def test_from_the_new_image_to_the_old_one_added_and_removed_change_places(diff: Diff) -> None:
    layer = file(b"a/.wh.b") + file(b"top", b"1") + file(b"new")

    assert diff([BASE], [BASE, layer]) == ["removed /a/b", "added /new", "changed /top"]
    assert diff([BASE, layer], [BASE]) == ["added /a/b", "added /a/b/deep", "removed /new", "changed /top"]


def test_a_hard_link_is_the_file_that_it_leads_to(diff: Diff) -> None:
    twice = file(b"one", b"1") + file(b"two", b"1")

    assert diff([twice], [file(b"one", b"1") + hard_link(b"two", b"one")]) == []
    assert diff([twice], [file(b"one", b"2") + hard_link(b"two", b"one")]) == ["changed /one", "changed /two"]


def test_a_file_that_takes_the_place_of_a_hard_links_target_leaves_the_link(diff: Diff) -> None:
    linked = file(b"one", b"1") + hard_link(b"two", b"one")

    assert diff([linked], [linked, file(b"one", b"2")]) == ["changed /one"]
    assert diff([linked], [linked + file(b"one", b"2")]) == ["changed /one"]


def test_how_files_are_spread_over_layers_makes_no_difference(diff: Diff) -> None:
    parts = [folder(b"a") + file(b"a/x", b"x") + file(b"gone"), file(b".wh.gone") + file(b"a/y", b"y")]

    assert diff(parts, [folder(b"a") + file(b"a/x", b"x") + file(b"a/y", b"y")]) == []
    assert diff(parts, [*parts, file(b"a/x", b"z"), file(b"a/x", b"x")]) == []


def test_a_file_of_a_shared_layer_is_compared_with_another_ones_by_content(diff: Diff) -> None:
    shared, moved = file(b"x", b"one") + file(b"y", b"one"), file(b"y", b"two")

    assert diff([shared, moved], [moved, shared]) == ["changed /y"]


def test_holes_are_the_zeros_that_they_stand_for(diff: Diff) -> None:
    content = b"a" + bytes(511) + b"b" * 512
    records = [(b"GNU.sparse.size", b"1536"), (b"GNU.sparse.map", b"0,512,1024,512")]
    sparse = pax(*records) + file(b"x", content)
    whole = file(b"x", content[:512] + bytes(512) + content[512:])

    assert diff([whole], [sparse]) == []
    assert diff([file(b"x", b"c" * 1536)], [sparse]) == ["changed /x"]


# Over the host


def test_over_the_host_the_host_says_what_is_there_when_a_layer_does_not(store: Store, tmp_path: Path) -> None:
    here = str(tmp_path).encode().lstrip(b"/")
    (tmp_path / "there").write_text("0")
    (tmp_path / "gone").write_text("0")
    layer = file(here + b"/there", b"1") + file(here + b"/.wh.gone") + file(here + b"/new") + file(here + b"/.wh.nothing")
    bare, more = made(store, [], over_host=True), made(store, [layer], over_host=True)

    found = [each.replace(f"{tmp_path}/", "") for each in shown(store, bare, more)]

    assert found == ["removed gone", "added new", "changed there"]


def test_an_image_over_the_host_is_not_compared_with_one_that_is_not(store: Store) -> None:
    with pytest.raises(ImageError, match="one of the images lies over the files of the host"):
        shown(store, made(store, [BASE]), made(store, [BASE], over_host=True))


# What cannot be compared


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (file(b"../x"), "leads out of the root"),
        (hard_link(b"x", b"y"), "hard link to 'y', which the archive has not brought before"),
        (link(b"l", b"l") + file(b"l/x"), "too many symbolic links"),
        (file(b"f") + file(b"f/x"), "lies below what is no folder"),
        (file(b"/".join([b"d"] * 300)), "folders deep"),
    ],
)
def test_a_layer_that_cannot_be_unpacked_is_refused(diff: Diff, layer: bytes, why: str) -> None:
    with pytest.raises(ImageError, match=why):
        diff([BASE], [BASE, layer])


def test_a_layer_is_held_against_the_digest_that_its_image_says(store: Store) -> None:
    with pytest.raises(ImageError, match="another digest than its image's configuration says"):
        shown(store, made(store, [BASE]), made(store, [file(b"x")], said=[digest_of(b"y")]))
