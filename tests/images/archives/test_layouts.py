"""Image layouts, as folders and as archives: the image that is meant, whole and verified, or an error and nothing."""

from __future__ import annotations

import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from needs import needs

from lxsandbox import ImageError
from lxsandbox.images.archives import layout as layout_module
from lxsandbox.images.archives import read_oci_archive, read_oci_layout
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import Platform

AMD64 = Platform(architecture="amd64")
ARM64 = Platform(architecture="arm64")


def read(layout: Any, blobs: Blobs, tag: str = "", platform: Platform = AMD64) -> str:
    return read_oci_layout(str(layout.folder), blobs, platform=platform, tag=tag).digest


def test_the_only_image_needs_no_tag(layout: Any, blobs: Blobs, stored: Callable[[], set[str]]) -> None:
    entry = layout.tagged("1.0", b"lower", b"upper")
    layout.list(entry)

    descriptor = read_oci_layout(str(layout.folder), blobs, platform=AMD64)

    assert descriptor.digest == entry["digest"]
    assert descriptor.size == entry["size"]
    assert descriptor.platform == AMD64
    assert len(stored()) == 4
    assert all(blobs.read(digest, at_most=1 << 20) == layout.blob(digest).read_bytes() for digest in stored())


def test_of_several_images_the_tag_says_which(layout: Any, blobs: Blobs) -> None:
    first, second = layout.tagged("1", b"1"), layout.tagged("2", b"2")
    layout.list(first, second)

    assert read(layout, blobs, tag="2") == second["digest"]
    with pytest.raises(ImageError, match="has several images") as raised:
        read(layout, blobs)
    assert "1, 2" in raised.value.hint
    with pytest.raises(ImageError, match="has no image '3'") as raised:
        read(layout, blobs, tag="3")
    assert "1, 2" in raised.value.hint


def test_the_whole_name_that_docker_writes_is_a_tag_too(layout: Any, blobs: Blobs) -> None:
    entry = layout.image(b"1", annotations={"io.containerd.image.name": "docker.io/library/x:1"})
    layout.list(entry, layout.tagged("2", b"2"))

    assert read(layout, blobs, tag="docker.io/library/x:1") == entry["digest"]


def test_an_index_within_gives_the_image_for_the_platform(layout: Any, blobs: Blobs) -> None:
    images = {name: layout.for_platform(name) for name in ("arm64", "amd64")}
    layout.list(layout.index([layout.index(images.values())], annotations={"org.opencontainers.image.ref.name": "x"}))

    assert read(layout, blobs, tag="x", platform=ARM64) == images["arm64"]["digest"]
    assert read(layout, blobs, tag="x", platform=AMD64) == images["amd64"]["digest"]
    with pytest.raises(ImageError, match="no image for linux/s390x") as raised:
        read(layout, blobs, platform=Platform(architecture="s390x"))
    assert "linux/amd64, linux/arm64" in raised.value.hint


def test_index_json_itself_may_list_the_platforms(layout: Any, blobs: Blobs) -> None:
    images = {name: layout.for_platform(name) for name in ("arm64", "amd64")}
    layout.list(*images.values())

    assert read(layout, blobs, platform=ARM64) == images["arm64"]["digest"]


def test_what_is_in_the_store_is_not_read_again(layout: Any, blobs: Blobs) -> None:
    entry = layout.tagged("1", b"1", b"2")
    layout.list(entry)
    read(layout, blobs)
    for path in layout.folder.glob("blobs/sha256/*"):
        path.unlink()

    assert read(layout, blobs) == entry["digest"]


def test_a_size_that_is_not_that_of_the_blob_in_the_store_is_refused(layout: Any, blobs: Blobs) -> None:
    entry = layout.tagged("1", b"1")
    layout.list(entry)
    read(layout, blobs)
    layout.list({**entry, "size": 5})

    with pytest.raises(ImageError, match="was said to have 5"):
        read(layout, blobs)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, zstandard.compress])
def test_an_archive_is_read_compressed_or_not_and_in_any_order(
    layout: Any, blobs: Blobs, tmp_path: Path, compress: Callable[[bytes], bytes], backwards: bool
) -> None:
    large = os.urandom(200_000)
    entry = layout.tagged("1", b"lower", large, b"upper")
    archive = layout.list(entry).archive(tmp_path / "archive", backwards=backwards)
    archive.write_bytes(compress(archive.read_bytes()))

    descriptor = read_oci_archive(str(archive), blobs, platform=AMD64, tag="1")

    assert descriptor.digest == entry["digest"]
    manifest = json.loads(blobs.read(entry["digest"], at_most=1 << 20))
    assert large in blobs.read(manifest["layers"][1]["digest"], at_most=1 << 20)


@needs("skopeo", "umoci")
def test_what_umoci_and_skopeo_made_is_read(umoci_layout: str, blobs: Blobs, run: Callable[..., str], tmp_path: Path) -> None:
    run("skopeo", "--insecure-policy", "copy", f"oci:{umoci_layout}:made", "oci-archive:archive.tar:moved")
    digest = json.loads(Path(umoci_layout, "index.json").read_bytes())["manifests"][0]["digest"]

    assert read_oci_layout(umoci_layout, blobs, platform=AMD64, tag="made").digest == digest
    other = Blobs(str(tmp_path / "other"))
    assert read_oci_archive(str(tmp_path / "archive.tar"), other, platform=AMD64, tag="moved").digest == digest


def damage(layout: Any, entry: dict[str, Any], kind: str) -> None:
    blob = layout.blob(json.loads(layout.blob(entry["digest"]).read_bytes())["layers"][0]["digest"])
    data = blob.read_bytes()
    blob.unlink()
    match kind:
        case "flipped":
            blob.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        case "short":
            blob.write_bytes(data[:-1])
        case "link":
            (layout.folder / "elsewhere").write_bytes(data)
            blob.symlink_to("../../elsewhere")
        case "fifo":
            os.mkfifo(blob)
        case "folder":
            blob.mkdir()
        case _:
            pass


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("flipped", "what came as sha256"),
        ("short", "is of 10239 bytes, and was said to have 10240"),
        ("link", "is a link"),
        ("fifo", "is not a file"),
        ("folder", "is not a file"),
        ("missing", "No such file"),
    ],
)
def test_a_damaged_blob_is_named_and_not_stored(
    layout: Any, blobs: Blobs, stored: Callable[[], set[str]], kind: str, said: str
) -> None:
    entry = layout.tagged("1", b"1")
    layout.list(entry)
    layer = json.loads(layout.blob(entry["digest"]).read_bytes())["layers"][0]["digest"]
    damage(layout, entry, kind)

    with pytest.raises(ImageError, match=said) as raised:
        read(layout, blobs)
    assert raised.value.message.startswith(f"{layout.folder}: blobs/sha256/{layer[7:]}")
    assert not stored() & {layer, entry["digest"]}


def test_a_manifest_that_is_not_what_its_digest_says_is_not_even_parsed(layout: Any, blobs: Blobs) -> None:
    entry = layout.tagged("1", b"1")
    layout.list(entry)
    layout.blob(entry["digest"]).write_bytes(b"x" * entry["size"])

    with pytest.raises(ImageError, match="is not what its digest says"):
        read(layout, blobs)
    assert not blobs.has(entry["digest"])


def test_a_missing_blob_of_an_archive_is_named(layout: Any, blobs: Blobs, tmp_path: Path) -> None:
    entry = layout.tagged("1", b"1")
    damage(layout.list(entry), entry, "missing")

    with pytest.raises(ImageError, match=r"archive has no blobs/sha256/"):
        read_oci_archive(str(layout.archive(tmp_path / "archive")), blobs, platform=AMD64)


def test_indexes_within_indexes_come_to_an_end(layout: Any, blobs: Blobs) -> None:
    entry = layout.index([])
    for _ in range(layout_module._MOST_INDEXES):
        entry = layout.index([entry])

    with pytest.raises(ImageError, match="indexes within indexes"):
        read(layout.list(entry), blobs)


def test_an_index_that_is_listed_many_times_is_read_once(layout: Any, blobs: Blobs) -> None:
    entry = layout.index([layout.for_platform("arm64")])
    for _ in range(20):  # 10**20 ways to the same image
        entry = layout.index([entry] * 10)

    with pytest.raises(ImageError, match="no image for linux/amd64"):
        read(layout.list(entry), blobs)


@pytest.mark.parametrize(
    ("file", "data", "said"),
    [
        ("oci-layout", b'{"imageLayoutVersion": "2.0.0"}', "only 1.0.0 is known"),
        ("oci-layout", b"", "no JSON"),
        ("index.json", b"[]", "no JSON object"),
        ("index.json", b'{"schemaVersion": 2, "manifests": []}', "no image for"),
        ("index.json", b'{"schemaVersion": 2, "manifests": [{}]}', "manifest 0"),
        ("index.json", b" " * (5 << 20), "index.json is of 5242880 bytes"),
    ],
)
def test_documents_that_make_no_sense_are_named(layout: Any, blobs: Blobs, file: str, data: bytes, said: str) -> None:
    layout.list(layout.tagged("1", b"1"))
    (layout.folder / file).write_bytes(data)

    with pytest.raises(ImageError, match=said) as raised:
        read(layout, blobs)
    assert str(layout.folder) in raised.value.message


def test_layers_must_be_as_many_as_the_config_says(layout: Any, blobs: Blobs, stored: Callable[[], set[str]]) -> None:
    manifest = json.loads(layout.blob(layout.image(b"1", b"2")["digest"]).read_bytes())
    del manifest["layers"][1]
    layout.list(layout.add(json.dumps(manifest).encode(), manifest["mediaType"]))

    with pytest.raises(ImageError, match="has 1 layers, and its config has 2 diff_ids"):
        read(layout, blobs)
    assert not stored()


def test_a_folder_that_is_not_there_is_named(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="nothing is not a folder"):
        read_oci_layout(str(tmp_path / "nothing"), blobs, platform=AMD64)
