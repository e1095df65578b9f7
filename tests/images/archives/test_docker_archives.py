"""What `docker save` writes, of every age: its layers become an image with a manifest, checked by the config's diff_ids."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from needs import needs

from lxsandbox import ImageError
from lxsandbox.images.archives import export_docker_archive, read_docker_archive, read_oci_layout
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import Descriptor, Manifest, Platform, parse_manifest

AMD64 = Platform(architecture="amd64")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def layer(content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


LOWER, UPPER = layer(b"lower"), layer(b"upper")


def config(*layers: bytes) -> bytes:
    diff_ids = [f"sha256:{sha256(each)}" for each in layers]
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()


class Saved:
    """An archive by hand."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.entries: list[tuple[tarfile.TarInfo, bytes]] = []
        self.images: list[dict[str, Any]] = []

    def add(self, name: str, data: bytes) -> str:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self.entries.append((member, data))
        return name

    def link(self, name: str, target: str) -> str:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = tarfile.SYMTYPE, target
        self.entries.append((member, b""))
        return name

    def image(self, config_data: bytes, layers: list[str], tags: list[str] | None) -> None:
        name = self.add(f"{sha256(config_data)}.json", config_data)
        self.images.append({"Config": name, "RepoTags": tags, "Layers": layers})

    def write(self, manifest: bytes | None = None) -> str:
        self.add("manifest.json", json.dumps(self.images).encode() if manifest is None else manifest)
        with tarfile.open(self.path, "w") as archive:
            for member, data in self.entries:
                archive.addfile(member, io.BytesIO(data))
        return self.path


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    return Saved(tmp_path / "saved.tar")


def manifest_of(descriptor: Descriptor, blobs: Blobs) -> Manifest:
    manifest = parse_manifest(blobs.read(descriptor.digest, at_most=1 << 20))
    assert isinstance(manifest, Manifest)
    return manifest


def layers_of(descriptor: Descriptor, blobs: Blobs) -> list[tuple[str, bytes]]:
    layers = manifest_of(descriptor, blobs).layers
    return [(layer.media_type.rpartition(".")[2], blobs.read(layer.digest, at_most=1 << 20)) for layer in layers]


def test_layers_and_config_become_an_image_with_a_manifest(saved: Saved, blobs: Blobs) -> None:
    saved.image(config(LOWER, UPPER), [saved.add("a/layer.tar", LOWER), saved.add("b/layer.tar", UPPER)], ["x:1"])

    descriptor = read_docker_archive(saved.write(), blobs)

    assert layers_of(descriptor, blobs) == [("tar", LOWER), ("tar", UPPER)]
    assert manifest_of(descriptor, blobs).config.digest == f"sha256:{sha256(config(LOWER, UPPER))}"
    assert descriptor.platform == AMD64


def test_a_layer_may_be_a_link_to_another_and_come_before_it(saved: Saved, blobs: Blobs) -> None:
    link = saved.link("b/layer.tar", "../a/layer.tar")
    saved.image(config(LOWER, LOWER), [saved.add("a/layer.tar", LOWER), link], None)

    assert layers_of(read_docker_archive(saved.write(), blobs), blobs) == [("tar", LOWER), ("tar", LOWER)]


def test_the_names_of_docker_25_are_names_like_others(saved: Saved, blobs: Blobs) -> None:
    data = config(LOWER)
    name = saved.add(f"blobs/sha256/{sha256(data)}", data)
    saved.images.append({"Config": name, "RepoTags": ["x:1"], "Layers": [saved.add(f"blobs/sha256/{sha256(LOWER)}", LOWER)]})

    assert layers_of(read_docker_archive(saved.write(), blobs), blobs) == [("tar", LOWER)]


def test_compressed_layers_stay_so_where_image_tools_know_how(saved: Saved, blobs: Blobs) -> None:
    gz, zst, xz = gzip.compress(LOWER, mtime=0), zstandard.compress(UPPER), lzma.compress(LOWER)
    names = [saved.add(name, data) for name, data in {"gz": gz, "zst": zst, "xz": xz}.items()]
    saved.image(config(LOWER, UPPER, LOWER), names, None)

    layers = layers_of(read_docker_archive(saved.write(), blobs), blobs)

    assert layers[:2] == [("tar+gzip", gz), ("tar+zstd", zst)]
    assert layers[2][0] == "tar+zstd"
    assert zstandard.ZstdDecompressor().stream_reader(layers[2][1]).read() == LOWER


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
def test_a_layer_that_is_not_its_diff_id_is_refused(
    saved: Saved, blobs: Blobs, stored: Callable[[], set[str]], compress: Callable[[bytes], bytes]
) -> None:
    saved.image(config(LOWER), [saved.add("a/layer.tar", compress(UPPER))], None)

    with pytest.raises(ImageError, match=sha256(LOWER)) as raised:
        read_docker_archive(saved.write(), blobs)
    assert f"{saved.path}: a/layer.tar" in raised.value.message
    assert not stored()


def test_what_is_in_the_store_is_not_read_again(saved: Saved, blobs: Blobs) -> None:
    blobs.add(LOWER)
    saved.image(config(LOWER), [saved.add("a/layer.tar", bytes(len(LOWER)))], None)

    assert layers_of(read_docker_archive(saved.write(), blobs), blobs) == [("tar", LOWER)]


@pytest.mark.parametrize("name", ["docker.io/library/x:latest", "library/x", "x", "x:latest", "@1"])
def test_an_image_is_found_by_any_form_of_its_name(saved: Saved, blobs: Blobs, name: str) -> None:
    lower = saved.add("lower", LOWER)
    saved.image(config(LOWER, LOWER), [lower, lower], ["y:1"])
    saved.image(config(LOWER), [lower], ["localhost:5000/z:1", "x:latest"])

    assert len(layers_of(read_docker_archive(saved.write(), blobs, name=name), blobs)) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "has 2 images"),
        ("x:2", "has no image 'x:2'"),
        ("X y", "is no name"),
        ("@2", "has no image '@2'"),
        ("@-1", "no image"),
    ],
)
def test_which_image_is_meant_must_be_clear(saved: Saved, blobs: Blobs, name: str, said: str) -> None:
    saved.image(config(LOWER), [saved.add("lower", LOWER)], ["x:1", "y:1"])
    saved.image(config(UPPER), [saved.add("upper", UPPER)], ["z:1"])

    with pytest.raises(ImageError, match=said) as raised:
        read_docker_archive(saved.write(), blobs, name=name)
    assert ("x:1, y:1, z:1" in raised.value.hint) == (said in ("has 2 images", "has no image 'x:2'"))


def test_a_config_that_is_not_as_its_name_says_is_refused(saved: Saved, blobs: Blobs) -> None:
    name = saved.add("0" * 64 + ".json", config(LOWER))
    saved.images.append({"Config": name, "RepoTags": None, "Layers": [saved.add("lower", LOWER)]})

    with pytest.raises(ImageError, match=f"{name} is sha256:{sha256(config(LOWER))}"):
        read_docker_archive(saved.write(), blobs)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (b"", "no JSON"),
        (b"{}", "no list"),
        (b"[]", "has no images"),
        (b"[1]", "image 0 is no JSON object"),
        (b"[" * 100_000, "no JSON"),
        (b'[{"Config": 1}]', "Config 1 is no text"),
        (b'[{"Config": "", "Layers": []}]', "Config names no file"),
        (b'[{"Config": "c", "Layers": [null]}]', "Layers: entry 0"),
        (b'[{"Config": "../c", "Layers": []}]', r"has no \.\./c"),
        (b'[{"Config": "c", "RepoTags": "x"}]', "RepoTags is no list"),
        (b'[{"Config": "config", "Layers": []}]', "has 0 layers, and config 1"),
        (b'[{"Config": "config", "Layers": ["gone"]}]', "has no gone"),
        (b'[{"Config": "\\u001b[2J", "Layers": []}]', r"has no '\\x1b\[2J'"),
        (b" " * (5 << 20), "is of 5242880 bytes"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_named(
    saved: Saved, blobs: Blobs, stored: Callable[[], set[str]], manifest: bytes, said: str
) -> None:
    saved.add("config", config(LOWER))

    with pytest.raises(ImageError, match=said) as raised:
        read_docker_archive(saved.write(manifest), blobs)
    assert saved.path in raised.value.message
    assert not stored()


def test_another_archive_is_said_to_be_one(saved: Saved, blobs: Blobs) -> None:
    Path(saved.path).write_bytes(LOWER)

    with pytest.raises(ImageError, match=r"has no manifest\.json"):
        read_docker_archive(saved.path, blobs)


def test_what_is_written_is_read_back_and_always_the_same_bytes(saved: Saved, blobs: Blobs, tmp_path: Path) -> None:
    names = [saved.add("1", gzip.compress(LOWER)), saved.add("2", zstandard.compress(UPPER)), saved.add("3", LOWER)]
    saved.image(config(LOWER, UPPER, LOWER), names, None)
    descriptor = read_docker_archive(saved.write(), blobs)

    for name in ("first.tar", "second.tar"):
        export_docker_archive(descriptor, blobs, str(tmp_path / name), "docker.io/library/x")

    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()
    again = read_docker_archive(str(tmp_path / "first.tar"), blobs, name="x:latest")
    assert layers_of(again, blobs) == [("tar", LOWER), ("tar", UPPER), ("tar", LOWER)]
    assert manifest_of(again, blobs).config == manifest_of(descriptor, blobs).config
    with tarfile.open(tmp_path / "first.tar") as archive:
        assert {member.name.partition(".")[0] for member in archive} == {
            sha256(config(LOWER, UPPER, LOWER)), sha256(LOWER), sha256(UPPER), "manifest"
        }  # fmt: skip
        assert {(member.mtime, member.uid, member.gid, member.mode) for member in archive} == {(0, 0, 0, 0o644)}


def test_a_layer_that_the_config_does_not_know_is_not_written(saved: Saved, blobs: Blobs, tmp_path: Path) -> None:
    saved.image(config(LOWER), [saved.add("1", gzip.compress(LOWER))], None)
    descriptor = read_docker_archive(saved.write(), blobs)
    Path(blobs.path(manifest_of(descriptor, blobs).layers[0].digest)).write_bytes(gzip.compress(UPPER))

    with pytest.raises(ImageError, match=f"config says sha256:{sha256(LOWER)}"):
        export_docker_archive(descriptor, blobs, str(tmp_path / "out.tar"))
    assert {path.name for path in tmp_path.iterdir()} == {"saved.tar", "store"}


@needs("skopeo", "umoci")
def test_skopeo_reads_what_is_written_and_writes_what_is_read(
    umoci_layout: str, blobs: Blobs, run: Callable[..., str], tmp_path: Path
) -> None:
    descriptor = read_oci_layout(umoci_layout, blobs, platform=AMD64)
    export_docker_archive(descriptor, blobs, str(tmp_path / "ours.tar"), "x/y:1")

    assert run("skopeo", "list-tags", "docker-archive:ours.tar").count("x/y:1") == 1
    ours = run("skopeo", "inspect", "--config", "--raw", "docker-archive:ours.tar:x/y:1")
    assert sha256(ours.encode()) == manifest_of(descriptor, blobs).config.digest[7:]
    run("skopeo", "--insecure-policy", "copy", "docker-archive:ours.tar:x/y:1", "docker-archive:theirs.tar:x/y:2")
    theirs = read_docker_archive(str(tmp_path / "theirs.tar"), blobs, name="x/y:2")
    assert theirs == read_docker_archive(str(tmp_path / "ours.tar"), blobs)
    run("skopeo", "--insecure-policy", "copy", "docker-archive:ours.tar", "oci:copied:1")
    copied = read_oci_layout(str(tmp_path / "copied"), blobs, platform=AMD64, tag="1")
    assert [gzip.decompress(data) for _, data in layers_of(copied, blobs)] == [data for _, data in layers_of(theirs, blobs)]
