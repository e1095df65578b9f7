"""Layouts and archives of them that are written: other tools read them, and what was there before stays."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import stat
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from needs import needs

from lxsandbox import ImageError
from lxsandbox.images.archives import export_layout, export_oci_archive, read_oci_archive, read_oci_layout
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import Descriptor, Platform

AMD64 = Platform(architecture="amd64")
TAG = "org.opencontainers.image.ref.name"


@pytest.fixture
def image(layout: Any, blobs: Blobs) -> Descriptor:
    layout.list(layout.tagged("1", b"lower", b"upper"))
    return read_oci_layout(str(layout.folder), blobs, platform=AMD64)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def tags(folder: Path) -> list[str | None]:
    entries = json.loads((folder / "index.json").read_bytes())["manifests"]
    return [(entry.get("annotations") or {}).get(TAG) for entry in entries]


def test_a_layout_has_the_image_and_nothing_else(image: Descriptor, blobs: Blobs, layout: Any, tmp_path: Path) -> None:
    export_layout(image, blobs, str(tmp_path / "out"), "new")

    assert names(tmp_path / "out") == names(layout.folder)
    assert read_oci_layout(str(tmp_path / "out"), Blobs(str(tmp_path / "other")), platform=AMD64, tag="new") == image


def test_others_can_read_it(image: Descriptor, blobs: Blobs, tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        export_layout(image, blobs, str(tmp_path / "out"), "new")
    finally:
        os.umask(mask)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").rglob("*")}
    assert modes == {0o755, 0o644}


def test_what_a_layout_held_before_it_still_holds(image: Descriptor, blobs: Blobs, layout: Any) -> None:
    old = layout.tagged("old", b"old", urls=["https://x"], data="e30=")
    layout.list(old, layout.tagged("moved", b"moved"), layout.image(b"untagged"))
    index = layout.folder / "index.json"
    index.write_text(json.dumps({**json.loads(index.read_bytes()), "annotations": {"a": "b"}, "unknown": 1}))

    for _ in range(2):
        export_layout(image, blobs, str(layout.folder), "moved")

    written = json.loads(index.read_bytes())
    assert written["manifests"][0] == old
    assert (written["annotations"], written["unknown"]) == ({"a": "b"}, 1)
    assert tags(layout.folder) == ["old", None, "moved"]
    assert written["manifests"][2]["digest"] == image.digest


def test_without_a_tag_it_is_listed_once(image: Descriptor, blobs: Blobs, tmp_path: Path) -> None:
    for _ in range(2):
        export_layout(image, blobs, str(tmp_path / "out"))

    assert tags(tmp_path / "out") == [None]


def _export(image: Descriptor, store: str, folder: str, tag: str) -> None:
    export_layout(image, Blobs(store), folder, tag)


def test_two_that_write_at_a_time_lose_nothing(image: Descriptor, blobs: Blobs, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    wanted = [f"tag{n}" for n in range(8)]
    folder = str(tmp_path / "out")
    processes = [context.Process(target=_export, args=(image, blobs.folder, folder, tag)) for tag in wanted]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 8
    assert sorted(tag or "" for tag in tags(tmp_path / "out")) == wanted


def test_a_folder_of_something_else_is_left_alone(image: Descriptor, blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo").touch()

    with pytest.raises(ImageError, match="holds something else"):
        export_layout(image, blobs, str(tmp_path / "out"))
    assert names(tmp_path / "out") == {"photo"}


@pytest.mark.parametrize("export", [export_layout, export_oci_archive])
@pytest.mark.parametrize("tag", ["a b", "-a", "a//b", "a\n", "a" * 300, "ü"])
def test_what_is_no_tag_is_refused(
    image: Descriptor, blobs: Blobs, tmp_path: Path, export: Callable[..., None], tag: str
) -> None:
    with pytest.raises(ImageError, match="is no tag"):
        export(image, blobs, str(tmp_path / "out"), tag)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("export", [export_layout, export_oci_archive])
def test_a_blob_that_the_disk_changed_is_not_handed_on(
    image: Descriptor, blobs: Blobs, layout: Any, tmp_path: Path, export: Callable[..., None]
) -> None:
    layer = json.loads(layout.blob(image.digest).read_bytes())["layers"][1]["digest"]
    Path(blobs.path(layer)).write_bytes(bytes(10240))

    with pytest.raises(ImageError, match=f"{layer} was damaged"):
        export(image, blobs, str(tmp_path / "out"), "x")
    assert not (tmp_path / "out").is_file()
    assert not [name for name in names(tmp_path) if name.endswith(".part") or (layer[7:] in name and name.startswith("out"))]
    assert not blobs.has(layer)


def test_an_image_that_is_not_all_there_is_not_written(image: Descriptor, blobs: Blobs, layout: Any, tmp_path: Path) -> None:
    blobs.discard(json.loads(layout.blob(image.digest).read_bytes())["layers"][0]["digest"])

    with pytest.raises(ImageError, match="there is no sha256"):
        export_oci_archive(image, blobs, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_archive_is_always_the_same_bytes(image: Descriptor, blobs: Blobs, tmp_path: Path) -> None:
    for name in ("first.tar", "second.tar"):
        export_oci_archive(image, blobs, str(tmp_path / name), "x")

    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()
    with tarfile.open(tmp_path / "first.tar") as archive:
        assert {(member.mtime, member.uid, member.gid, member.uname) for member in archive} == {(0, 0, 0, "")}
    other = Blobs(str(tmp_path / "other"))
    assert read_oci_archive(str(tmp_path / "first.tar"), other, platform=AMD64, tag="x") == image


def test_an_archive_takes_the_place_of_the_old_one_when_it_is_whole(image: Descriptor, blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "out.tar").write_text("old")

    export_oci_archive(image, blobs, str(tmp_path / "out.tar"), "x")
    assert tarfile.is_tarfile(tmp_path / "out.tar")
    with pytest.raises(ImageError, match="cannot be written"):
        export_oci_archive(image, blobs, str(tmp_path / "nothing" / "out.tar"))


def test_a_manifest_may_be_named_by_sha512(image: Descriptor, blobs: Blobs, tmp_path: Path) -> None:
    data = blobs.read(image.digest, at_most=1 << 20)
    other = replace(image, digest=f"sha512:{hashlib.sha512(data).hexdigest()}")
    blobs.take_in(other.digest, other.size, [data])

    export_oci_archive(other, blobs, str(tmp_path / "out.tar"), "x")
    assert read_oci_archive(str(tmp_path / "out.tar"), Blobs(str(tmp_path / "other")), platform=AMD64) == other


@needs("skopeo", "umoci")
def test_skopeo_and_umoci_read_what_is_written(umoci_layout: str, blobs: Blobs, run: Callable[..., str], tmp_path: Path) -> None:
    image = read_oci_layout(umoci_layout, blobs, platform=AMD64)
    export_layout(image, blobs, str(tmp_path / "ours"), "a")
    export_layout(image, blobs, umoci_layout, "added")
    export_oci_archive(image, blobs, str(tmp_path / "ours.tar"), "b")

    assert sorted(run("umoci", "ls", "--layout", "umoci").split()) == ["added", "made"]
    run("umoci", "unpack", "--rootless", "--image", "ours:a", "bundle")
    assert (tmp_path / "bundle" / "rootfs" / "etc2" / "passwd").read_text() == "root:x:0:0::/:/bin/sh\n"
    run("umoci", "tag", "--image", "ours:a", "again")
    assert read_oci_layout(str(tmp_path / "ours"), blobs, platform=AMD64, tag="again").digest == image.digest
    run("skopeo", "--insecure-policy", "copy", "oci-archive:ours.tar:b", "oci:theirs:c")
    run("skopeo", "--insecure-policy", "copy", "oci:ours:a", "oci-archive:theirs.tar:d")
    other = Blobs(str(tmp_path / "other"))
    assert read_oci_layout(str(tmp_path / "theirs"), other, platform=AMD64, tag="c") == image
    assert read_oci_archive(str(tmp_path / "theirs.tar"), other, platform=AMD64, tag="d") == image
