"""A layer is unpacked once, whole, whatever happens to who unpacks it; and once more when it is no longer whole."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from images.store.made import Layer, tree_of
from needs import needs

from lxsandbox import ImageError
from lxsandbox.images.store import Store

LAYER = Layer(text="etc/a=1 etc/b=22 bin/c=333")


def refuse(folder: str) -> None:
    raise AssertionError("it is there already")


def names(store: Store) -> list[str]:
    """What lies beside the layers of ids `host`, shortened."""
    hex_name = LAYER.digest.partition(":")[2]
    return sorted(path.name.replace(hex_name, "L") for path in Path(store.folder, "layers", "host").iterdir())


def test_a_layer_is_unpacked_once(store: Store) -> None:
    folder = store.layer(LAYER.digest, LAYER.unpack, ids="host")

    assert folder == f"{store.folder}/layers/host/{LAYER.digest[7:]}"
    assert tree_of(folder) == LAYER.files
    assert store.layer(LAYER.digest, refuse, ids="host") == folder
    assert Store(store.folder).layer(LAYER.digest, refuse, ids="host") == folder
    assert names(store) == ["L", "L.seal"]


def test_a_layer_whose_digest_nobody_knows_yet_is_where_the_digest_says(store: Store) -> None:
    def fill(folder: str) -> str:
        LAYER.unpack(folder)
        return LAYER.digest

    folder = store.new_layer(fill, ids="host")

    assert store.layer(LAYER.digest, refuse, ids="host") == folder
    assert store.new_layer(fill, ids="host") == folder
    assert names(store) == ["L", "L.seal"]


def test_a_layer_that_could_not_be_filled_leaves_nothing(store: Store) -> None:
    def fill(folder: str) -> str:
        LAYER.unpack(folder)
        raise ImageError("the source has gone")

    with pytest.raises(ImageError, match="the source has gone"):
        store.new_layer(fill, ids="host")

    assert names(store) == []
    assert os.listdir(f"{store.folder}/locks") == ["store.lock"]


def test_layers_whose_owners_were_shifted_otherwise_are_apart(store: Store) -> None:
    one, other = (store.layer(LAYER.digest, LAYER.unpack, ids=ids) for ids in ("host", "single"))

    assert one != other
    assert tree_of(one) == tree_of(other)


@pytest.mark.parametrize("ids", ["", "..", "a/b", "Host", "x" * 33])
def test_ids_are_a_plain_name(store: Store, ids: str) -> None:
    with pytest.raises(ValueError, match="no plain name"):
        store.layer(LAYER.digest, LAYER.unpack, ids=ids)


def test_a_diff_id_is_a_digest(store: Store) -> None:
    with pytest.raises(ImageError, match="is not a digest"):
        store.layer("sha256:../../x", LAYER.unpack, ids="host")


def test_what_unpacking_raises_is_passed_on_and_nothing_is_left(store: Store) -> None:
    def break_off(folder: str) -> None:
        LAYER.unpack(folder)
        raise ImageError("entry is refused")

    with pytest.raises(ImageError, match="entry is refused"):
        store.layer(LAYER.digest, break_off, ids="host")
    assert names(store) == []


def _unpack(folder: str, written: str) -> None:
    def unpack(part: str) -> None:
        with open(written, "ab") as file:
            file.write(b".")
        LAYER.unpack(part)

    assert tree_of(Store(folder).layer(LAYER.digest, unpack, ids="host")) == LAYER.files


def test_sixteen_processes_unpack_a_layer_once(store: Store, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_unpack, args=(store.folder, str(tmp_path / "written"))) for _ in range(16)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 16
    assert (tmp_path / "written").read_bytes() == b"."


def test_sixteen_threads_of_one_store_unpack_a_layer_once(store: Store) -> None:
    count = 0

    def unpack(part: str) -> None:
        nonlocal count
        count += 1
        LAYER.unpack(part)

    threads = [threading.Thread(target=store.layer, args=(LAYER.digest, unpack), kwargs={"ids": "host"}) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 1


def _stop_in_the_midst(folder: str, ready: int) -> None:
    def unpack(part: str) -> None:
        Path(part, "half").write_text("a")
        os.write(ready, b"1")
        signal.pause()

    Store(folder).layer(LAYER.digest, unpack, ids="host")


def kill_in_the_midst(store: Store) -> None:
    read, write = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_stop_in_the_midst, args=(store.folder, write))
    process.start()
    assert os.read(read, 1) == b"1"
    process.kill()
    process.join()
    os.close(read)
    os.close(write)
    process.close()


def test_what_a_killed_process_left_is_removed_by_who_unpacks_next(tmp_path: Path) -> None:
    removed: list[str] = []

    def remove(folder: str) -> None:
        removed.append(os.path.basename(folder))
        shutil.rmtree(folder)

    store = Store(str(tmp_path / "store"), remove=remove)
    kill_in_the_midst(store)
    assert names(store) == ["L.part"]

    assert tree_of(store.layer(LAYER.digest, LAYER.unpack, ids="host")) == LAYER.files
    assert removed == [f"{LAYER.digest[7:]}.part"]
    assert names(store) == ["L", "L.seal"]


def test_what_a_killed_process_left_is_removed_by_prune(store: Store) -> None:
    kill_in_the_midst(store)

    assert store.prune().bytes == 1
    assert names(store) == []


Damage = Callable[[Path], None]
DAMAGES: dict[str, Damage] = {
    "a file is gone": lambda layer: (layer / "etc/a").unlink(),
    "a file was cut off": lambda layer: (layer / "bin/c").write_text(""),
    "a file came": lambda layer: (layer / "new").write_text(""),
    "a folder is gone": lambda layer: shutil.rmtree(layer / "etc"),
    "all of it is gone": shutil.rmtree,
    "the seal is gone": lambda layer: Path(f"{layer}.seal").unlink(),
    "the seal is empty": lambda layer: Path(f"{layer}.seal").write_text(""),
    "the seal is odd": lambda layer: Path(f"{layer}.seal").write_text('{"entries": null, "bytes": []}'),
    "the seal is no object": lambda layer: Path(f"{layer}.seal").write_text("[1]"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_layer_that_was_damaged_is_made_again_by_the_next_process(store: Store, damage: Damage) -> None:
    folder = store.layer(LAYER.digest, LAYER.unpack, ids="host")
    damage(Path(folder))

    assert Store(store.folder).layer(LAYER.digest, LAYER.unpack, ids="host") == folder
    assert tree_of(folder) == LAYER.files
    assert Store(store.folder).layer(LAYER.digest, refuse, ids="host") == folder
    store.prune()
    assert names(store) == []


def test_a_damaged_layer_stays_readable_to_who_uses_it(store: Store) -> None:
    with store.lease(f"host/{LAYER.digest}"):
        folder = Path(store.layer(LAYER.digest, LAYER.unpack, ids="host"))
        used = os.open(folder, os.O_RDONLY)
        (folder / "etc/a").unlink()
        Store(store.folder).layer(LAYER.digest, LAYER.unpack, ids="host")
        store.prune()
        assert sorted(os.listdir(used)) == ["bin", "etc"]  # the old one, put away and still held
        os.close(used)
    assert store.prune().bytes == 3 + 2 + 6
    assert names(store) == []


def test_hard_links_count_once_and_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    def unpack(part: str) -> None:
        Path(part, "a").write_text("12345")
        os.link(f"{part}/a", f"{part}/b")
        os.symlink("/", f"{part}/out")
        os.symlink("nowhere", f"{part}/dangling")
        os.mkfifo(f"{part}/fifo")

    store.layer(LAYER.digest, unpack, ids="host")
    assert Path(store.folder, "layers", "host", f"{LAYER.digest[7:]}.seal").read_text() == '{"entries": 5, "bytes": 5}'
    assert store.usage().layer_bytes == 5


@pytest.mark.parametrize("longer", range(0, 101, 5))  # where the limit falls depends on how long the store's own path is
def test_a_layer_nested_deeper_than_a_path_may_be_long_can_be_kept_and_removed(tmp_path: Path, longer: int) -> None:
    def unpack(part: str) -> None:
        fd = os.open(part, os.O_RDONLY)
        for _ in range(45):
            os.mkdir("d" * 100, dir_fd=fd)
            below = os.open("d" * 100, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        os.close(fd)

    store = Store(str(tmp_path / f"store{'-' * longer}"))
    store.layer(LAYER.digest, unpack, ids="host")
    assert Store(store.folder).layer(LAYER.digest, refuse, ids="host")
    store.prune()
    assert names(store) == []


def _as_plain_user(folder: str) -> None:
    """With a layer whose folders belong to root, as those of shifted ids belong to others."""

    def unpack(part: str) -> None:
        LAYER.unpack(part)
        os.seteuid(0)
        Path(part, "etc").chmod(0o700)
        for path in (Path(part, "etc"), Path(part)):
            os.chown(path, 0, 0)
        os.seteuid(65534)

    def remove(path: str) -> None:
        os.seteuid(0)
        shutil.rmtree(path)
        os.seteuid(65534)

    os.seteuid(65534)
    store = Store(folder, remove=remove)
    made = store.layer(LAYER.digest, unpack, ids="host")
    assert Store(folder, remove=remove).layer(LAYER.digest, refuse, ids="host") == made
    Path(f"{made}.seal").unlink()
    assert Store(folder, remove=remove).layer(LAYER.digest, unpack, ids="host") == made
    assert store.prune().layers == (f"host/{LAYER.digest}",)
    assert names(store) == []


@needs("root")
def test_a_layer_that_belongs_to_other_ids_is_moved_and_removed_all_the_same() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is for root alone
        os.chown(folder, 65534, 65534)
        process = multiprocessing.get_context("fork").Process(target=_as_plain_user, args=(f"{folder}/store",))
        process.start()
        process.join()
        assert process.exitcode == 0
