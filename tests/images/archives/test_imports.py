"""Bare file systems as images of one layer: nothing of them is lost, and the same one is the same image."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from needs import needs

from lxsandbox import ImageError
from lxsandbox.images.archives import export_layout, import_dir, import_tar
from lxsandbox.images.archives.packing import pack_folder
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.config import ImageConfig, parse_config
from lxsandbox.images.documents import Descriptor
from lxsandbox.images.platforms import host_platform


def tar(*names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return out.getvalue()


ROOT = tar("bin", "etc")


def layer_and_config(descriptor: Descriptor, blobs: Blobs) -> tuple[str, bytes, ImageConfig]:
    manifest = json.loads(blobs.read(descriptor.digest, at_most=1 << 20))
    (layer,) = manifest["layers"]
    config = parse_config(blobs.read(manifest["config"]["digest"], at_most=1 << 20))
    return layer["mediaType"].rpartition(".")[2], blobs.read(layer["digest"], at_most=1 << 30), config


def packed(folder: Path) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(b"".join(pack_folder(str(folder)))))


@pytest.mark.parametrize(
    ("compress", "kind"),
    [(bytes, "tar"), (gzip.compress, "tar+gzip"), (zstandard.compress, "tar+zstd"), (lzma.compress, ""), (bz2.compress, "")],
)
def test_a_tar_is_stored_as_it_is_where_image_tools_know_its_compression(
    blobs: Blobs, tmp_path: Path, compress: Callable[[bytes], bytes], kind: str
) -> None:
    data = compress(ROOT)
    (tmp_path / "root").write_bytes(data)

    found_kind, layer, config = layer_and_config(import_tar(str(tmp_path / "root"), blobs), blobs)

    if kind:
        assert (found_kind, layer) == (kind, data)
    else:
        assert found_kind == "tar+zstd"
        assert zstandard.ZstdDecompressor().stream_reader(layer).read() == ROOT
    assert config.diff_ids == (Blobs(str(tmp_path / "other")).add(ROOT),)
    assert config.platform == host_platform()
    assert [entry.created_by for entry in config.history] == ["lxsandbox image import root"]


def test_the_same_tar_and_name_are_the_same_image(blobs: Blobs, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(ROOT)

    first = import_tar(str(tmp_path / "a"), blobs, name="root")
    assert import_tar(str(tmp_path / "b"), blobs, name="root") == first
    assert import_tar(str(tmp_path / "b"), blobs) != first


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "cut short"),
        (b"hello" * 1000, "no tar archive"),
        (ROOT[:1024], "cut short"),
        (zstandard.compress(tar(*map(str, range(5000))))[:-100], r"cut short|damaged"),
        (gzip.compress(tar(*map(str, range(5000))))[:-100], "damaged"),
        (gzip.compress(ROOT)[:100] + b"\xff" * 50, "damaged"),
        (gzip.compress(b"hello" * 1000), "no tar archive"),
    ],
    ids=["empty", "text", "cut", "cut-zstd", "cut-gzip", "damaged-gzip", "compressed-text"],
)
def test_what_is_no_whole_tar_is_no_image(
    blobs: Blobs, tmp_path: Path, stored: Callable[[], set[str]], data: bytes, said: str
) -> None:
    (tmp_path / "root").write_bytes(data)

    with pytest.raises(ImageError, match=said) as raised:
        import_tar(str(tmp_path / "root"), blobs)
    assert str(tmp_path / "root") in raised.value.message
    assert not stored()


def test_an_archive_of_nothing_is_an_image(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "root").write_bytes(tar())

    assert layer_and_config(import_tar(str(tmp_path / "root"), blobs), blobs)[1] == tar()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one of everything that a plain user can make."""
    root = tmp_path / "root"
    (root / "b" / "c").mkdir(parents=True)
    (root / "b" / "c" / "file").write_bytes(b"content" * 1000)
    (root / "a").symlink_to("../../nowhere")
    (root / ("long" * 50)).write_text("long")
    (root / os.fsdecode(b"bytes\xff")).touch()
    os.mkfifo(root / "fifo")
    os.link(root / "b" / "c" / "file", root / "b" / "again")
    for name in ("f", "d", "e"):
        (root / name / "g").mkdir(parents=True)
    (root / "b" / "c" / "file").chmod(0o4711)
    os.utime(root / "b" / "c" / "file", ns=(0, 1_234_567_890_123_456_789))
    os.utime(root / "b" / "c", ns=(0, -1_500_000_000))
    return root


def test_everything_in_a_folder_is_kept(folder: Path) -> None:
    with packed(folder) as archive:
        members = {member.name: member for member in archive}
        top = ["a", "b", os.fsdecode(b"bytes\xff"), "d", "e", "f", "fifo", "long" * 50]
        assert list(members) == [*top, "b/again", "b/c", "b/c/file", "d/g", "e/g", "f/g"]
        content = archive.extractfile("b/again")
        assert content is not None
        assert content.read() == b"content" * 1000
    assert members["a"].linkname == "../../nowhere"
    assert members["b/c/file"].islnk()
    assert members["b/c/file"].linkname == "b/again"
    assert members["b/again"].mode == 0o4711
    assert members["b/again"].pax_headers["mtime"] == "1234567890.123456789"
    assert members["b/c"].pax_headers["mtime"] == "-1.500000000"
    assert members["b"].isdir()
    assert members["fifo"].isfifo()
    assert {(member.uid, member.gid, member.uname) for member in members.values()} == {(os.getuid(), os.getgid(), "")}


def test_a_socket_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with packed(folder) as archive:
            assert "socket" not in archive.getnames()


def test_extended_attributes_are_kept_whatever_their_bytes(folder: Path) -> None:
    try:
        os.setxattr(folder / "b", "user.x", b"\xff\0\n=")
    except OSError as error:
        pytest.skip(f"the file system of {folder} has no extended attributes: {error}")
    os.setxattr(folder / "b", "user.overlay.opaque", b"y")

    data = b"".join(pack_folder(str(folder)))
    assert b"SCHILY.xattr.user.x=\xff\0\n=\n" in data
    assert b"overlay" not in data


@needs("root")
def test_devices_owners_and_capabilities_are_kept(folder: Path) -> None:
    os.mknod(folder / "null", 0o020666, os.makedev(1, 3))
    os.chown(folder / "a", 1234, 3_000_000, follow_symlinks=False)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(folder / "b" / "again", "security.capability", capability)

    assert b"SCHILY.xattr.security.capability=" + capability in b"".join(pack_folder(str(folder)))
    with packed(folder) as archive:
        null, link = archive.getmember("null"), archive.getmember("a")
    assert null.ischr()
    assert (null.devmajor, null.devminor) == (1, 3)
    assert (link.uid, link.gid) == (1234, 3_000_000)


def test_the_same_folder_is_the_same_image(folder: Path, blobs: Blobs) -> None:
    assert import_dir(str(folder), blobs) == import_dir(str(folder), blobs)
    assert not list(Path(blobs.folder).glob("fetching/*.part"))


def test_a_folder_may_be_named_by_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)

    assert b"".join(pack_folder(str(tmp_path / "link"))) == b"".join(pack_folder(str(folder)))


def test_a_name_that_means_removal_is_refused(folder: Path, blobs: Blobs, stored: Callable[[], set[str]]) -> None:
    (folder / "b" / ".wh.x").touch()

    with pytest.raises(ImageError, match=r"'b/\.wh\.x' cannot be in an image"):
        import_dir(str(folder), blobs)
    assert not stored()
    assert not list(Path(blobs.folder).glob("fetching/*.part"))


@needs("plain-user")
def test_what_may_not_be_read_is_named(folder: Path, blobs: Blobs) -> None:
    (folder / "b").chmod(0)

    with pytest.raises(ImageError, match=r"Permission denied.*'b'"):
        import_dir(str(folder), blobs)
    (folder / "b").chmod(0o700)


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_what_is_no_folder_is_no_image(blobs: Blobs, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ImageError, match=f"{name} is not a folder"):
        import_dir(str(tmp_path / name), blobs)


@needs("skopeo", "umoci")
def test_other_tools_take_imported_images(folder: Path, blobs: Blobs, run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(b"".join(pack_folder(str(folder))))
    image = import_tar(str(tmp_path / "root.tar"), blobs)
    export_layout(image, blobs, str(tmp_path / "out"), "x")
    export_layout(import_dir(str(folder), blobs), blobs, str(tmp_path / "out"), "zstd")

    run("umoci", "unpack", "--rootless", "--image", "out:x", "bundle")
    unpacked = tmp_path / "bundle" / "rootfs" / "b" / "c" / "file"
    assert unpacked.read_bytes() == b"content" * 1000
    assert unpacked.stat().st_nlink == 2
    run("skopeo", "--insecure-policy", "copy", "--dest-decompress", "oci:out:zstd", "dir:copied")
    run("skopeo", "inspect", "oci:out:zstd")
