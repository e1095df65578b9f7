"""ADD of an archive: what is unpacked, what is copied as it is, and what is refused."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from images.building.conftest import Build
from rootfs_real.busybox import COMPRESS, entry

from lxsandbox.errors import ImageError
from lxsandbox.images.library import HeldImage

Tree = Callable[[HeldImage], Path]


def archive(*members: tarfile.TarInfo, content: bytes = b"text") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("form", COMPRESS)
def test_an_archive_is_known_by_its_content_however_it_is_compressed(build: Build, tree: Tree, folder: Path, form: str) -> None:
    (folder / "named-as-it-likes").write_bytes(COMPRESS[form](archive(entry("a/b"))))

    assert (tree(build("FROM scratch\nADD named-as-it-likes /x\n")) / "x/a/b").read_text() == "text"


@pytest.mark.parametrize("content", [b"", b"text", gzip.compress(b"text"), b"\x1f\x8bno gzip", archive(entry("a"))[1:]])
def test_what_is_no_archive_is_copied_as_it_is(build: Build, tree: Tree, folder: Path, content: bytes) -> None:
    (folder / "file").write_bytes(content)

    assert (tree(build("FROM scratch\nADD file /x/\n")) / "x/file").read_bytes() == content


@pytest.mark.parametrize("name", ["../../out", "/out", "a/../../out", "./out"])
def test_no_entry_goes_above_where_the_archive_goes(build: Build, tree: Tree, folder: Path, name: str) -> None:
    (folder / "tar").write_bytes(archive(entry(name)))

    assert (tree(build("FROM scratch\nADD tar /x/y/\n")) / "x/y/out").read_text() == "text"


def test_an_archive_that_was_cut_short_is_refused(build: Build, folder: Path) -> None:
    (folder / "tar").write_bytes(gzip.compress(archive(entry("a"), content=bytes(range(256)) * 4000))[:-2000])

    with pytest.raises(ImageError, match=r"Containerfile:2: ADD: archive /tar cannot be unpacked"):
        build("FROM scratch\nADD tar /x/\n")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused_by_name(build: Build, folder: Path, kind: bytes) -> None:
    (folder / "tar").write_bytes(archive(entry("dev/it", type=kind)))

    with pytest.raises(ImageError, match=r"Containerfile:2: ADD: the archive holds 'dev/it', a device or fifo"):
        build("FROM scratch\nADD tar /x/\n")
