"""The store's folder is private, and a layout that container tools read."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from images.store.made import image
from needs import needs

from lxsandbox import ImageError
from lxsandbox.images.digests import digest_of
from lxsandbox.images.documents import INDEX_TYPE, Descriptor, Index
from lxsandbox.images.store import Store, cache_folder

ONE = image("a=1 b=2", "c=3")


def test_the_store_is_in_the_cache_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    assert Store().folder == str(tmp_path / "cache" / "lxsandbox")
    assert stat.S_IMODE(os.stat(Store().folder).st_mode) == 0o700


def test_a_relative_cache_home_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert cache_folder() == str(tmp_path / "home" / ".cache" / "lxsandbox")


def test_a_store_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)

    with pytest.raises(ImageError, match="it is a symbolic link"):
        Store(str(tmp_path / "link"))
    assert os.listdir(tmp_path) == ["link"]


@pytest.mark.parametrize("name", ["", "layers", "blobs"])
def test_a_store_that_others_can_write_to_is_refused(tmp_path: Path, name: str) -> None:
    Store(str(tmp_path / "store"))
    (tmp_path / "store" / name).chmod(0o770)

    with pytest.raises(ImageError, match="others can write to it"):
        Store(str(tmp_path / "store"))


@needs("root")
def test_a_store_of_another_user_is_refused(tmp_path: Path) -> None:
    Store(str(tmp_path / "store"))
    os.chown(tmp_path / "store", 65534, 65534)

    with pytest.raises(ImageError, match="it belongs to user 65534"):
        Store(str(tmp_path / "store"))


def test_a_file_where_the_store_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")

    with pytest.raises(ImageError, match="it is no folder"):
        Store(str(tmp_path / "store"))
    with pytest.raises(ImageError, match="cannot make "):
        Store(str(tmp_path / "store" / "below"))


def test_layers_are_for_the_user_alone_also_after_a_copy_that_lost_the_mode(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    Store(str(folder))
    (folder / "layers").chmod(0o755)

    Store(str(folder))
    assert stat.S_IMODE((folder / "layers").stat().st_mode) == 0o700


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"imageLayoutVersion": "2.0.0"}'])
def test_a_layout_of_another_version_or_a_damaged_one_is_refused(store: Store, text: str) -> None:
    Path(store.folder, "oci-layout").write_text(text)

    with pytest.raises(ImageError, match=r"oci-layout (is damaged|says version '2\.0\.0')") as caught:
        Store(store.folder)
    assert caught.value.hint


def test_a_new_store_is_an_empty_layout(store: Store) -> None:
    assert json.loads(Path(store.folder, "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads(Path(store.folder, "index.json").read_text())["manifests"] == []
    assert store.names() == {}


def test_what_an_image_says_is_read_back(store: Store) -> None:
    descriptor = ONE.put_into(store)

    manifest = store.manifest(descriptor)
    assert manifest == ONE.manifest
    assert store.config_bytes(manifest) == ONE.config


def test_an_index_is_no_single_image(store: Store) -> None:
    index = Index(manifests=(ONE.descriptor,)).as_bytes()
    store.blobs.add(index)
    descriptor = Descriptor(media_type=INDEX_TYPE, digest=digest_of(index), size=len(index))

    assert isinstance(store.document(descriptor), Index)
    with pytest.raises(ImageError, match="is several images"):
        store.manifest(descriptor)


@needs("skopeo")
def test_skopeo_reads_the_store_by_the_names_in_it(store: Store, tmp_path: Path) -> None:
    ONE.tag_in(store, "docker.io/library/alpine:3.20")
    image("z=9").tag_in(store, "other")

    said = _skopeo("inspect", f"oci:{store.folder}:docker.io/library/alpine:3.20")
    assert json.loads(said)["Layers"] == [layer.digest for layer in ONE.layers]
    assert json.loads(_skopeo("inspect", "--config", f"oci:{store.folder}:other"))["config"] == {"Env": ["A=1"]}
    _skopeo("copy", f"oci:{store.folder}:docker.io/library/alpine:3.20", f"oci-archive:{tmp_path}/copy")


@needs("skopeo")
def test_the_store_reads_what_skopeo_writes_into_it(store: Store, tmp_path: Path) -> None:
    source = Store(str(tmp_path / "source"))
    ONE.tag_in(source, "one")
    image("z=9").tag_in(store, "mine")

    _skopeo("copy", f"oci:{source.folder}:one", f"oci:{store.folder}:copied")
    assert set(store.names()) == {"mine", "copied"}
    copied = store.named("copied")
    assert copied is not None
    assert store.complete(copied)
    assert [layer.digest for layer in store.manifest(copied).layers] != []


@needs("umoci")
def test_umoci_lists_the_names_of_the_store(store: Store) -> None:
    ONE.tag_in(store, "one")

    done = subprocess.run(["umoci", "ls", "--layout", store.folder], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["one"]


def _skopeo(*words: str) -> str:
    command = ["skopeo", "--insecure-policy", "--tmpdir", "/tmp", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
