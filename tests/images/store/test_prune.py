"""What goes is what nobody reaches, then what was used least recently; and it is said what went."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from images.store.made import image, left_in, tree_of

from lxsandbox import ImageError
from lxsandbox.images.digests import digest_of
from lxsandbox.images.store import Store, layer_key
from lxsandbox.images.store.prune import StoredImage, images_to_go, last_use, union
from lxsandbox.images.store.reach import Reach

OLD, MIDDLE, NEW = image("base=1", "old=1"), image("base=1", "middle=1"), image("base=1", "new=1")


def used(store: Store, name: str, seconds: float) -> None:
    """Let the named image have been used at that time."""
    descriptor = store.named(name)
    assert descriptor is not None
    os.utime(store.blobs.path(descriptor.digest), (seconds, seconds))


@pytest.fixture
def full(store: Store) -> Store:
    """A store with three images, of different ages."""
    for seconds, (name, made) in enumerate({"old": OLD, "middle": MIDDLE, "new": NEW}.items()):
        made.tag_in(store, name)
        used(store, name, seconds + 1)
    return store


def test_what_is_named_stays_and_what_is_not_goes(full: Store) -> None:
    OLD.unpack_in(full)
    NEW.unpack_in(full)
    full.untag("old")
    before = full.usage().bytes

    gone = full.prune()
    assert gone.names == ()
    assert set(gone.blobs) == OLD.digests - NEW.digests
    assert gone.layers == (layer_key(OLD.layers[1].digest, ids="host"),)
    assert gone.bytes == before - full.usage().bytes
    assert full.complete(NEW.descriptor)
    assert full.prune().bytes == 0


def test_a_store_is_kept_to_a_size_by_what_was_used_least_recently(full: Store) -> None:
    assert full.keep_to(full.usage().bytes, spare_seconds=0) is None

    gone = full.keep_to(full.usage().bytes - 1, spare_seconds=0)

    assert gone is not None
    assert gone.names == ("old",)
    assert set(full.names()) == {"middle", "new"}


def test_what_was_used_or_came_lately_stays_however_large_the_store_is(full: Store) -> None:
    for name in ("middle", "new"):
        used(full, name, time.time())
    MIDDLE.unpack_in(full)
    lately = full.blobs.add(b"of no image, yet")
    long_ago = full.blobs.add(b"of no image")
    for each in (full.blobs.path(long_ago), *(full.blobs.path(digest) for digest in OLD.digests - NEW.digests)):
        os.utime(each, (1, 1))

    gone = full.keep_to(1, spare_seconds=3600)

    assert gone is not None
    assert (gone.names, set(gone.blobs)) == (("old",), {long_ago, *(OLD.digests - NEW.digests)})
    assert full.blobs.has(lately)
    assert full.usage().layers == 2


def test_with_all_every_image_goes_that_is_not_in_use(full: Store) -> None:
    with full.lease(MIDDLE.descriptor):
        assert full.prune(all=True).names == ("new", "old")
    assert set(full.names()) == {"middle"}
    assert full.complete(MIDDLE.descriptor)
    full.prune(all=True)
    assert left_in(full) == []


def test_an_image_of_which_a_layer_is_in_use_stays(full: Store) -> None:
    with full.hold([layer_key(OLD.layers[1].digest, ids="host")]):
        assert full.prune(all=True).names == ("middle", "new")
    assert full.complete(OLD.descriptor)


def test_the_image_used_least_recently_makes_room_first(full: Store) -> None:
    size = full.usage().bytes

    assert full.prune(at_most_bytes=size).names == ()
    assert full.prune(at_most_bytes=size - 1).names == ("old",)
    used(full, "middle", 9)
    assert full.prune(at_most_bytes=full.usage().bytes - 1).names == ("new",)
    assert full.usage().bytes < size
    assert full.complete(MIDDLE.descriptor)


def test_what_is_in_use_stays_however_little_room_there_is(full: Store) -> None:
    with full.lease(OLD.descriptor):
        assert full.prune(at_most_bytes=0).names == ("middle", "new")
        assert full.complete(OLD.descriptor)


def _lease(store: Store) -> None:
    store.lease(OLD.descriptor).close()


def _name(store: Store) -> None:
    store.tag("old", OLD.descriptor)


def _ask_for_all_its_layers(store: Store) -> None:
    OLD.unpack_in(store)


@pytest.mark.parametrize("use", [_lease, _name, _ask_for_all_its_layers])
def test_an_image_that_was_used_just_now_makes_room_last(full: Store, use: Callable[[Store], None]) -> None:
    for folder in OLD.unpack_in(full):
        os.utime(f"{folder}.seal", (1, 1))
    use(full)

    assert full.prune(at_most_bytes=full.usage().bytes - 1).names == ("middle",)
    assert full.prune(at_most_bytes=full.usage().bytes - 1).names == ("new",)
    assert full.complete(OLD.descriptor)


def test_all_names_of_an_image_go_with_it(full: Store) -> None:
    full.tag("older", OLD.descriptor)
    used(full, "old", 1)

    assert full.prune(at_most_bytes=full.usage().bytes - 1).names == ("old", "older")


def test_sizes_tell_what_an_image_shares(full: Store) -> None:
    OLD.unpack_in(full)
    sizes = full.sizes(OLD.descriptor)

    layer_files = 1  # each holds one character
    base = len(OLD.layers[0].data) + layer_files
    assert sizes.shared == base
    assert sizes.own == len(OLD.layers[1].data) + layer_files + len(OLD.config) + OLD.descriptor.size
    full.untag("middle")
    full.untag("new")
    assert full.sizes(OLD.descriptor).shared == 0
    full.tag("again", OLD.descriptor)  # another name is no other image
    assert full.sizes(OLD.descriptor).own == sizes.own + base


def test_usage_counts_what_is_there(full: Store) -> None:
    OLD.unpack_in(full)
    with pytest.raises(ImageError):
        full.blobs.take_in(digest_of(b"12345"), 5, [b"123"])

    usage = full.usage()
    blobs = {path: path.stat().st_size for path in Path(full.folder, "blobs").rglob("*") if path.is_file()}
    assert (usage.images, usage.blobs, usage.layers) == (3, len(blobs), 2)
    assert (usage.blob_bytes, usage.layer_bytes, usage.part_bytes) == (sum(blobs.values()), 2, 3)
    assert usage.bytes == sum(blobs.values()) + 5


def test_what_was_fetched_in_part_goes_unless_it_is_reached(store: Store) -> None:
    layer = OLD.layers[0]
    for data in (OLD.manifest.as_bytes(), OLD.config):
        store.blobs.add(data)
    with pytest.raises(ImageError):
        store.blobs.take_in(layer.digest, len(layer.data), [layer.data[:100]])

    with store.lease(OLD.descriptor):
        assert store.prune().bytes == 0
    assert list(store.blobs.parts()) == [layer.digest]
    assert store.prune().bytes == 100 + len(OLD.config) + OLD.descriptor.size
    assert left_in(store) == []


def test_what_is_being_fetched_stays(store: Store) -> None:
    with store.blobs.fetching(digest_of(b"123"), 3) as part:
        assert part is not None
        part.write(b"12")
        assert store.prune(all=True).bytes == 0
        part.write(b"3")
    assert store.blobs.read(digest_of(b"123"), at_most=3) == b"123"


def _unpack_slowly(folder: str, ready: int, go_on: int) -> None:
    def unpack(part: str) -> None:
        Path(part, "early").write_text("here")
        os.write(ready, b"1")
        os.read(go_on, 1)
        OLD.layers[0].unpack(part)

    Store(folder).layer(OLD.layers[0].digest, unpack, ids="host")


def test_what_is_being_unpacked_stays(store: Store) -> None:
    ready, ready_end = os.pipe()
    go_on, go_on_end = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_unpack_slowly, args=(store.folder, ready_end, go_on))
    process.start()
    os.read(ready, 1)
    assert store.prune(all=True).layers == ()
    os.write(go_on_end, b"1")
    process.join()

    assert process.exitcode == 0
    folder = store.layer(OLD.layers[0].digest, OLD.layers[0].unpack, ids="host")
    assert tree_of(folder) == {**OLD.layers[0].files, "early": "here"}
    process.close()
    for fd in (ready, ready_end, go_on, go_on_end):
        os.close(fd)


def test_a_damaged_manifest_is_found_and_its_image_can_be_fetched_again(full: Store) -> None:
    Path(full.blobs.path(OLD.descriptor.digest)).write_bytes(b"x" * OLD.descriptor.size)

    full.prune()
    assert not full.complete(OLD.descriptor)
    assert full.complete(NEW.descriptor)
    OLD.tag_in(full, "old")
    assert full.complete(OLD.descriptor)


def test_layers_that_cannot_be_removed_are_named_and_the_rest_is_removed(tmp_path: Path) -> None:
    def remove(folder: str) -> None:
        raise PermissionError(f"{folder} belongs to others")

    hindered = Store(str(tmp_path / "store"), remove=remove)
    NEW.put_into(hindered)
    NEW.unpack_in(hindered)

    with pytest.raises(ImageError, match=r"2 layers could not be removed, the first of them .* belongs to others"):
        hindered.prune()
    assert not [name for name in left_in(hindered) if name.startswith("blobs")]
    assert Store(hindered.folder).prune().bytes == 2
    assert left_in(hindered) == []


def test_prune_follows_no_link_out_of_a_layer(store: Store, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_text("here")

    def unpack(part: str) -> None:
        os.symlink(canary, f"{part}/out")
        os.symlink("/", f"{part}/root")

    store.layer(OLD.layers[0].digest, unpack, ids="host")
    store.prune()
    assert (canary / "file").read_text() == "here"
    assert left_in(store) == []


def test_what_others_have_put_into_the_folder_stays(full: Store) -> None:
    strange = ["blobs/file", "blobs/sha256/note", "layers/README", "fetching/x.part", "roots"]
    for name in strange:
        Path(full.folder, name).write_text("")
    Path(full.folder, "layers", "host").mkdir(exist_ok=True)
    Path(full.folder, "layers", "host", "lost+found").mkdir()

    full.prune(all=True)
    assert all(Path(full.folder, name).exists() for name in [*strange, "layers/host/lost+found"])


# The plan by itself

IMAGES = st.lists(
    st.tuples(st.sets(st.sampled_from("abcdef"), min_size=1), st.integers(0, 5)),
    max_size=6,
    unique_by=lambda each: frozenset(each[0]),
)


@given(given_images=IMAGES, leased=st.sets(st.sampled_from("abcdef")), limit=st.integers(-1, 8))
def test_no_more_goes_than_must_and_never_what_is_in_use(
    given_images: list[tuple[set[str], int]], leased: set[str], limit: int
) -> None:
    images = [
        StoredImage(digest="".join(sorted(blobs)), names=(), reach=Reach(blobs=frozenset(blobs)), last_used=time)
        for blobs, time in given_images
    ]
    held = Reach(blobs=frozenset(leased))

    def size_of(reach: Reach) -> int:
        return len(reach.blobs)

    gone = images_to_go(images, held, size_of, at_most_bytes=limit)
    stay = [each for each in images if each not in gone]
    free = [each for each in images if each.digest not in leased]
    assert all(each in free for each in gone)
    assert size_of(union(stay) | held) <= limit or gone == sorted(free, key=lambda each: (each.last_used, each.digest))
    assert not gone or size_of(union([*stay, gone[-1]]) | held) > limit
    assert max((each.last_used for each in gone), default=0) <= min((each.last_used for each in free if each in stay), default=9)


def test_a_base_in_daily_use_does_not_make_all_that_share_it_look_used() -> None:
    base, own = "sha256:" + "0" * 64, "sha256:" + "1" * 64
    both = frozenset({base, own})

    assert last_use(5, both, {f"host/{base}": 100, f"host/{own}": 7}) == 7
    assert last_use(5, both, {f"host/{base}": 100, f"host/{own}": 7, f"single/{own}": 50}) == 50
    assert last_use(5, both, {f"host/{base}": 100}) == 5
    assert last_use(5, frozenset(), {}) == 5
