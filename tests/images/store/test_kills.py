"""Killed at any point, whoever changes the store leaves one that works: nothing named or leased is lost, nothing stays for ever.

The points are the calls that change files, as audit events show them (audit_events in the library reference): the process
that changes the store kills itself before the first of them, before the second, and so on.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from images.store.made import Image, Layer, image, left_in, tree_of

from lxsandbox.images.digests import digest_of
from lxsandbox.images.store import Store

NAMED, LEASED, OTHER = image("base=1", "named=1"), image("base=1", "leased=1"), image("base=1", "other=1")
CHANGES = ("fcntl.flock", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.utime")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

Act = Callable[[Store], object]


def _changes(event: str, args: tuple[object, ...]) -> bool:
    if event == "open":
        flags = args[2]
        return isinstance(flags, int) and bool(flags & WRITES)
    return event in CHANGES


def _act(folder: str, act: Act, number: int, told: int) -> None:
    """Open the store and carry out `act`, up to change `number`, whose name is told."""
    left = number

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal left
        if _changes(event, args):
            if left == 0:
                os.write(told, f"{event} {os.path.basename(str(args[0]))}".encode())
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(hook)
    act(Store(folder))
    os._exit(0)  # without what the end of the interpreter would write


def kill_before(folder: str, act: Act, number: int) -> str | None:
    """What `act` was about to do as its change `number` when it was killed; None when it came to its end."""
    told, told_end = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_act, args=(folder, act, number, told_end))
    process.start()
    process.join()
    os.close(told_end)
    point = os.read(told, 1000).decode()
    os.close(told)
    assert process.exitcode == (-signal.SIGKILL if point else 0)
    process.close()
    return point or None


def kills(tmp_path: Path, prepare: Act, act: Act) -> Iterator[tuple[str, Store]]:
    """A store for each point at which `act` can be killed, opened again after the kill; `act` works in each as it should."""
    for number in range(1000):
        store = Store(str(tmp_path / f"store-{number}"))
        prepare(store)
        point = kill_before(store.folder, act, number)
        yield point or "end", Store(store.folder)
        if point is None:
            return


def unpack_all(store: Store, made: Image) -> None:
    for layer in made.layers:
        assert tree_of(store.layer(layer.digest, layer.unpack, ids="host")) == layer.files


def works(store: Store) -> None:
    """Every name stands for a whole image, all can be done that could be, and at the end nothing is left."""
    assert all(store.complete(descriptor) for descriptor in store.names().values())
    with store.lease(NAMED.descriptor):
        NAMED.tag_in(store, "again")
        unpack_all(store, NAMED)
        store.prune()
        assert store.complete(NAMED.descriptor)
        assert tree_of(unpacked(store, NAMED.layers[1])) == NAMED.layers[1].files
    assert store.untag("again")
    store.prune(all=True)
    assert left_in(store) == []
    assert sorted(os.listdir(store.folder)) == [
        "blobs", "fetching", "index.json", "layers", "leases", "locks", "oci-layout",
    ]  # fmt: skip


def unpacked(store: Store, layer: Layer) -> str:
    def refuse(folder: str) -> None:
        raise AssertionError("it was removed")

    return store.layer(layer.digest, refuse, ids="host")


def named_one(store: Store) -> None:
    NAMED.tag_in(store, "one")
    OTHER.put_into(store)


def three(store: Store) -> None:
    """One image to stay, one to go, all unpacked; and what killed processes have left."""
    for made, name in ((NAMED, "one"), (OTHER, "other")):
        made.tag_in(store, name)
        unpack_all(store, made)
    os.utime(store.blobs.path(OTHER.descriptor.digest), (1, 1))
    for layer in OTHER.layers:
        os.utime(f"{unpacked(store, layer)}.seal", (1, 1))
    Path(store.folder, "layers", "host", "0" * 64 + ".part").mkdir()
    Path(store.folder, "leases", "1-dead").write_text("[]\n")
    Path(store.folder, "fetching").mkdir(exist_ok=True)
    Path(store.folder, "fetching", digest_of(b"x").replace(":", "-") + ".part").write_text("")


def test_who_is_killed_while_naming_an_image_leaves_the_old_name_or_the_new(tmp_path: Path) -> None:
    points: list[str] = []
    for point, store in kills(tmp_path, named_one, lambda store: store.tag("one", OTHER.descriptor)):
        points.append(point)
        assert store.named("one") in (NAMED.descriptor, OTHER.descriptor), point
        works(store)
    assert "os.rename index.json.part" in points


def test_who_is_killed_while_letting_a_name_go_leaves_the_others(tmp_path: Path) -> None:
    def prepare(store: Store) -> None:
        named_one(store)
        store.tag("other", OTHER.descriptor)

    for point, store in kills(tmp_path, prepare, lambda store: store.untag("one")):
        assert store.named("other") == OTHER.descriptor, point
        works(store)


def test_who_is_killed_while_opening_a_new_store_leaves_one_to_open(tmp_path: Path) -> None:
    def empty(store: Store) -> None:
        for name in ("index.json", "oci-layout"):
            Path(store.folder, name).unlink()
        for name in ("blobs", "layers", "leases"):
            Path(store.folder, name).rmdir()

    points: list[str] = []
    for point, store in kills(tmp_path, empty, lambda store: None):
        points.append(point)
        works(store)
    assert {"os.mkdir blobs", "os.rename oci-layout.part", "os.rename index.json.part"} <= set(points)


def test_who_is_killed_while_unpacking_leaves_a_layer_whole_or_none(tmp_path: Path) -> None:
    points: list[str] = []
    layer = NAMED.layers[0]

    def act(store: Store) -> None:
        store.layer(layer.digest, layer.unpack, ids="host")

    for point, store in kills(tmp_path, named_one, act):
        points.append(point)
        assert tree_of(store.layer(layer.digest, layer.unpack, ids="host")) == layer.files, point
        works(store)
    name = layer.digest[7:]
    assert {f"os.mkdir {name}.part", "open base", f"os.rename {name}.part", f"os.rename {name}.seal.part"} <= set(points)


def test_who_is_killed_while_making_a_damaged_layer_again_leaves_a_layer_whole_or_none(tmp_path: Path) -> None:
    layer = NAMED.layers[0]

    def damage(store: Store) -> None:
        named_one(store)
        Path(store.layer(layer.digest, layer.unpack, ids="host"), "base").unlink()

    for point, store in kills(tmp_path, damage, lambda store: store.layer(layer.digest, layer.unpack, ids="host")):
        assert tree_of(store.layer(layer.digest, layer.unpack, ids="host")) == layer.files, point
        works(store)


def test_who_is_killed_while_pruning_has_removed_nothing_that_is_named_or_leased(tmp_path: Path) -> None:
    points: list[str] = []
    for point, store in kills(tmp_path, three, lambda store: store.prune(at_most_bytes=NAMED_BYTES)):
        points.append(point)
        assert store.named("one") == NAMED.descriptor, point
        assert store.complete(NAMED.descriptor), point
        for layer in NAMED.layers:
            assert tree_of(unpacked(store, layer)) == layer.files, point
        if store.named("other"):
            assert store.complete(OTHER.descriptor), point
        works(store)
    gone = OTHER.layers[1].digest[7:]
    assert {"os.rename index.json.part", f"os.remove {gone}", f"os.remove {gone}.seal", f"os.rename {gone}"} <= set(points)
    assert "os.remove other" in points  # in the midst of a layer


def test_who_is_killed_while_taking_a_lease_holds_nothing(tmp_path: Path) -> None:
    for _, store in kills(tmp_path, named_one, lambda store: store.hold([OTHER.descriptor])):
        store.prune()
        assert os.listdir(Path(store.folder, "leases")) == []
        assert not store.complete(OTHER.descriptor)
        works(store)


NAMED_BYTES = len(NAMED.manifest.as_bytes()) + len(NAMED.config) + sum(len(layer.data) + 1 for layer in NAMED.layers)


def _change_without_end(folder: str, seed: int) -> None:
    chance = random.Random(seed)
    store = Store(folder)
    images = (NAMED, OTHER, image("other=1", "third=3"))
    while True:
        made = chance.choice(images)
        name = chance.choice("abc")
        act = chance.choice(("tag", "untag", "unpack", "prune", "all", "cap"))
        if act == "tag":
            made.tag_in(store, name)
        elif act == "untag":
            store.untag(name)
        elif act == "unpack":
            with store.lease(made.descriptor):
                unpack_all(store, made)
        else:
            store.prune(all=act == "all", at_most_bytes=chance.randrange(30_000) if act == "cap" else None)


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    chance = random.Random(20260728)
    store = Store(str(tmp_path / "store"))
    LEASED.tag_in(store, "leased")
    with store.lease(LEASED.descriptor):
        unpack_all(store, LEASED)
        for number in range(30):
            process = multiprocessing.get_context("fork").Process(target=_change_without_end, args=(store.folder, number))
            process.start()
            process.join(chance.uniform(0.005, 0.2))
            assert process.exitcode is None, f"round {number}: it failed"
            process.kill()
            process.join()
            process.close()
            again = Store(store.folder)
            assert all(again.complete(descriptor) for descriptor in again.names().values()), f"round {number}"
            assert again.complete(LEASED.descriptor), f"round {number}"
            assert tree_of(unpacked(again, LEASED.layers[1])) == LEASED.layers[1].files, f"round {number}"
    works(store)
