"""A name stands for a whole image, or for none; and no list of names is lost."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from images.store.made import image

from lxsandbox import ImageError
from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import CONFIG_TYPE, INDEX_TYPE, MANIFEST_TYPE, Descriptor, Index
from lxsandbox.images.store import Store

ONE = image("a=1", "b=2")
TWO = image("a=1", "c=3")


def test_a_name_stands_for_the_image_that_it_was_given_to_last(store: Store) -> None:
    ONE.tag_in(store, "app:1")
    ONE.tag_in(store, "app:latest")
    TWO.tag_in(store, "app:latest")

    assert store.named("app:1") == ONE.descriptor
    assert store.named("app:latest") == TWO.descriptor
    assert store.named("app") is None
    assert store.names() == {"app:1": ONE.descriptor, "app:latest": TWO.descriptor}
    assert Store(store.folder).names() == store.names()


def test_a_name_that_was_let_go_is_no_name(store: Store) -> None:
    ONE.tag_in(store, "one")

    assert store.untag("one")
    assert not store.untag("one")
    assert store.names() == {}
    assert store.complete(ONE.descriptor)  # until it is pruned


def test_annotations_of_a_descriptor_stay(store: Store) -> None:
    ONE.put_into(store)
    said = Descriptor(media_type=MANIFEST_TYPE, digest=ONE.descriptor.digest, size=ONE.descriptor.size, annotations={"a": "b"})

    store.tag("one", said)
    assert store.named("one") == said


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_an_image_of_which_a_blob_is_missing_is_not_named(store: Store, missing: int) -> None:
    ONE.put_into(store)
    store.blobs.discard(sorted(ONE.digests)[missing])

    assert not store.complete(ONE.descriptor)
    with pytest.raises(ImageError, match="a part of it is missing"):
        store.tag("one", ONE.descriptor)
    assert store.names() == {}


def test_an_index_is_complete_with_one_of_its_images_and_not_with_half_a_one(store: Store) -> None:
    index = Index(manifests=(ONE.descriptor, TWO.descriptor)).as_bytes()
    descriptor = Descriptor(media_type=INDEX_TYPE, digest=digest_of(index), size=len(index))

    store.blobs.add(index)
    assert not store.complete(descriptor)
    ONE.put_into(store)
    assert store.complete(descriptor)
    store.blobs.add(TWO.manifest.as_bytes())
    assert not store.complete(descriptor)
    TWO.put_into(store)
    store.tag("both", descriptor)
    assert store.named("both") == descriptor


def test_what_is_no_image_is_not_named(store: Store) -> None:
    store.blobs.add(b"{}")
    config = Descriptor(media_type=CONFIG_TYPE, digest=digest_of(b"{}"), size=2)

    with pytest.raises(ImageError):
        store.tag("config", config)


def test_a_blob_that_was_cut_off_is_removed_to_be_fetched_again(store: Store) -> None:
    ONE.tag_in(store, "one")
    digest = ONE.layers[0].digest
    Path(store.blobs.path(digest)).write_bytes(b"short")

    assert not store.complete(ONE.descriptor)
    assert not store.blobs.has(digest)
    ONE.put_into(store)
    assert store.complete(ONE.descriptor)


def test_a_manifest_that_lies_about_a_size_costs_no_other_image_its_blob(store: Store) -> None:
    ONE.tag_in(store, "one")
    lying = ONE.manifest.as_bytes().replace(b'"size":%d' % len(ONE.layers[0].data), b'"size":7')
    store.blobs.add(lying)

    assert not store.complete(Descriptor(media_type=MANIFEST_TYPE, digest=digest_of(lying), size=len(lying)))
    assert store.complete(ONE.descriptor)


@pytest.mark.parametrize("name", ["", "../x", "/x", "a//b", "a b", "a\0b", "-x", "a/.b", "é", "a\n", "x" * 256])
def test_odd_names_are_refused(store: Store, name: str) -> None:
    ONE.put_into(store)

    with pytest.raises(ImageError, match="an image cannot be named"):
        store.tag(name, ONE.descriptor)


@pytest.mark.parametrize("name", ["alpine:3.20", "ghcr.io/x/y@sha256:" + "0" * 64, "localhost:5000/a__b", "x" * 255])
def test_references_are_names(store: Store, name: str) -> None:
    ONE.tag_in(store, name)

    assert list(store.names()) == [name]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"schemaVersion": 1}', '{"schemaVersion": 2, "manifests": [{}]}',
     '{"schemaVersion": 2, "config": {}, "layers": []}', "\xff", "[" * 100_000, " " * (5 << 20)],
)  # fmt: skip
def test_a_damaged_list_of_names_is_kept_aside_and_the_way_on_said(store: Store, text: str) -> None:
    ONE.tag_in(store, "one")
    path = Path(store.folder, "index.json")
    good = path.read_bytes()
    path.write_text(text, "latin-1")

    with pytest.raises(ImageError, match="the names of all images are lost") as caught:
        store.names()
    aside = Path(store.folder, "index.json.damaged-1")
    assert str(aside) in caught.value.hint
    assert aside.read_text("latin-1") == text

    assert store.names() == {}  # it goes on
    assert json.loads(path.read_bytes())["manifests"] == []
    store.tag("two", TWO.tag_in(store, "two"))
    assert store.complete(ONE.descriptor)
    path.write_bytes(good)  # mended and moved back
    assert store.names() == {"one": ONE.descriptor}


def test_no_damaged_list_takes_the_place_of_another(store: Store) -> None:
    path = Path(store.folder, "index.json")
    for text in ("first", "second", "third"):
        path.write_text(text)
        with pytest.raises(ImageError):
            store.untag("x")
        if text == "second":
            Path(store.folder, "index.json.damaged-1").unlink()

    assert sorted(each.read_text() for each in Path(store.folder).glob("*.damaged-*")) == ["second", "third"]


def test_nothing_is_pruned_while_a_damaged_list_may_tell_what_is_needed(store: Store) -> None:
    ONE.tag_in(store, "one")
    Path(store.folder, "index.json").write_text("{")
    with pytest.raises(ImageError, match="lost"):
        store.prune()

    with pytest.raises(ImageError, match="nothing is removed while"):
        store.prune(at_most_bytes=0)
    assert store.complete(ONE.descriptor)
    assert set(store.prune(all=True).blobs) == ONE.digests
    assert not list(Path(store.folder).glob("*.damaged*"))


def _tag(folder: str, number: int) -> None:
    store = Store(folder)
    for turn in range(5):
        store.tag(f"name-{number}-{turn}", ONE.descriptor)
    store.untag(f"name-{number}-0")


def test_names_that_many_processes_give_at_once_are_all_kept(store: Store) -> None:
    ONE.put_into(store)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_tag, args=(store.folder, number)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 8
    assert set(store.names()) == {f"name-{number}-{turn}" for number in range(8) for turn in range(1, 5)}


def test_a_list_that_could_not_be_read_again_is_not_written(store: Store) -> None:
    ONE.tag_in(store, "one")
    long = {"x": "y" * (5 << 20)}
    huge = Descriptor(media_type=MANIFEST_TYPE, digest=ONE.descriptor.digest, size=ONE.descriptor.size, annotations=long)

    with pytest.raises(ImageError, match=r"more than .* can hold"):
        store.tag("two", huge)
    assert store.names() == {"one": ONE.descriptor}
    assert json.loads(Path(store.folder, "index.json").read_text())["mediaType"] == INDEX_TYPE
