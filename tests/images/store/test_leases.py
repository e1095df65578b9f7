"""What a live process holds stays; what a dead one held does not."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest
from images.store.made import Image, image

from lxsandbox import ImageError
from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import INDEX_TYPE, Descriptor, Index
from lxsandbox.images.store import Store, layer_key

ONE = image("a=1", "b=2")


def files(store: Store) -> list[Path]:
    return list(Path(store.folder, "leases").iterdir())


def test_an_image_that_is_leased_stays_with_its_layers(store: Store) -> None:
    with store.lease(ONE.descriptor):
        ONE.put_into(store)
        ONE.unpack_in(store)
        assert store.prune(all=True).bytes == 0
        assert store.complete(ONE.descriptor)
    assert files(store) == []
    gone = store.prune()
    assert set(gone.blobs) == ONE.digests
    assert set(gone.layers) == {layer_key(layer.digest, ids="host") for layer in ONE.layers}


def test_the_images_of_a_leased_index_stay(store: Store) -> None:
    index = Index(manifests=(ONE.descriptor,)).as_bytes()
    ONE.put_into(store)
    store.blobs.add(index)

    with store.lease(Descriptor(media_type=INDEX_TYPE, digest=digest_of(index), size=len(index))):
        assert store.prune(all=True).blobs == ()
    assert set(store.prune().blobs) == {*ONE.digests, digest_of(index)}


def test_a_single_blob_and_a_single_layer_can_be_held(store: Store) -> None:
    ONE.put_into(store)
    ONE.unpack_in(store)
    first, second = (layer.digest for layer in ONE.layers)

    with store.hold([first, layer_key(second, ids="host")]):
        gone = store.prune()
    assert set(gone.blobs) == ONE.digests - {first}
    assert gone.layers == (layer_key(first, ids="host"),)


def test_a_layer_is_held_for_the_ids_that_were_named(store: Store) -> None:
    layer = ONE.layers[0]
    for ids in ("host", "single"):
        store.layer(layer.digest, layer.unpack, ids=ids)

    with store.hold([layer_key(layer.digest, ids="single")]):
        assert store.prune().layers == (layer_key(layer.digest, ids="host"),)


def test_a_lease_can_be_added_to(store: Store) -> None:
    ONE.put_into(store)

    with store.hold([]) as lease:
        for layer in ONE.layers:
            lease.add([layer.digest])
        assert set(store.prune().blobs) == ONE.digests - {layer.digest for layer in ONE.layers}


def test_what_is_held_twice_stays_until_both_let_go(store: Store) -> None:
    ONE.put_into(store)
    first, second = store.hold([ONE.descriptor]), store.hold([ONE.descriptor])

    first.close()
    first.close()  # once more is no error
    assert store.prune().blobs == ()
    second.close()
    assert store.prune().blobs != ()


@pytest.mark.parametrize("odd", ["", "x", "sha256:0", "host/sha256:0", "a/b/sha256:" + "0" * 64, "../sha256:" + "0" * 64])
def test_what_is_neither_digest_nor_key_is_not_held(store: Store, odd: str) -> None:
    with pytest.raises(ImageError, match="is not a digest"):
        store.hold([odd])
    assert files(store) == []


def _hold_and_wait(folder: str, ready: int) -> None:
    store = Store(folder)
    lease = store.hold([ONE.descriptor])
    os.write(ready, b"1")
    signal.pause()
    lease.close()


def test_the_lease_of_a_process_counts_until_it_is_killed(store: Store) -> None:
    ONE.put_into(store)
    read, write = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_hold_and_wait, args=(store.folder, write))
    process.start()
    assert os.read(read, 1) == b"1"
    assert store.prune(all=True).blobs == ()

    process.kill()
    process.join()
    assert len(files(store)) == 1
    assert set(store.prune().blobs) == ONE.digests
    assert files(store) == []
    os.close(read)
    os.close(write)
    process.close()


def test_a_forked_child_cannot_end_the_lease_of_its_parent(store: Store) -> None:
    ONE.put_into(store)
    with store.hold([ONE.descriptor]) as lease:
        process = multiprocessing.get_context("fork").Process(target=lease.close)
        process.start()
        process.join()
        assert process.exitcode == 0
        assert store.prune().blobs == ()


@pytest.mark.parametrize("text", ["{", "[5]\n", '[{"x": 1}]\n', "5\n"])
def test_nothing_is_removed_while_a_live_lease_cannot_be_read(store: Store, text: str) -> None:
    ONE.put_into(store)
    with store.hold([]):
        files(store)[0].write_text(text)
        with pytest.raises(ImageError, match="nothing can be removed"):
            store.prune(all=True)
        assert store.complete(ONE.descriptor)
    assert store.prune().blobs != ()


def test_what_comes_for_a_lease_while_it_is_decided_what_goes_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def come_and_list() -> tuple[dict[str, int], dict[str, int]]:
        ONE.put_into(store)
        return listed()

    with store.hold([ONE.descriptor]):
        listed = store._stored
        monkeypatch.setattr(store, "_stored", come_and_list)

        assert store.prune(all=True).blobs == ()
        assert store.complete(ONE.descriptor)


def _use(folder: str, made: Image, number: int, turns: int) -> None:
    store = Store(folder)
    for turn in range(turns):
        with store.lease(made.descriptor):
            made.put_into(store)
            store.tag(f"{number}-{turn}", made.descriptor)
            for layer, path in zip(made.layers, made.unpack_in(store), strict=True):
                assert {name: Path(path, name).read_text() for name in layer.files} == layer.files
            assert store.complete(made.descriptor)
            assert store.config_bytes(store.manifest(made.descriptor)) == made.config


def test_what_processes_use_is_there_while_others_prune_without_end(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    images = (ONE, image("a=1", "c=3"), image("c=3", "b=2"))
    users = [context.Process(target=_use, args=(store.folder, images[number % 3], number, 12)) for number in range(6)]
    for process in users:
        process.start()
    while any(process.is_alive() for process in users):
        store.prune(all=True)
    for process in users:
        process.join()

    assert [process.exitcode for process in users] == [0] * 6
    store.prune(all=True)
    assert store.usage().bytes == 0


def _on_a_full_disk(folder: str) -> None:
    """RLIMIT_FSIZE stands for the full disk: write(2) writes what fits, then fails."""
    store = Store(folder)
    ONE.put_into(store)
    with store.hold([ONE.descriptor]) as lease:
        before = files(store)[0].read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, resource.RLIM_INFINITY))
        with pytest.raises(OSError, match="File too large"):
            lease.add([layer.digest for layer in ONE.layers])
        assert files(store)[0].read_bytes() == before
        assert store.prune().blobs == ()
        with pytest.raises(OSError, match="File too large"):
            store.hold([ONE.descriptor, *ONE.digests])
        assert len(files(store)) == 1
        with pytest.raises(OSError, match="File too large"):
            store.tag("one", ONE.descriptor)
        assert store.names() == {}


def test_on_a_full_disk_what_was_held_stays_held(store: Store) -> None:
    process = multiprocessing.get_context("fork").Process(target=_on_a_full_disk, args=(store.folder,))
    process.start()
    process.join()
    assert process.exitcode == 0
