"""A file of two gigabytes of which there is nothing is as long inside, and takes nothing of the disk."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from images_real.conftest import Shelf
from needs import needs

from lxsandbox import Sandbox

pytestmark = needs("user-namespaces", "overlayfs", "busybox")

Start = Callable[..., Sandbox]

SIZE = 2 << 30
MOST_DISK_BYTES = 1 << 20
FORMATS = {
    "gnu": ["--format=gnu"],
    "pax 0.0": ["--format=pax", "--sparse-version=0.0"],
    "pax 0.1": ["--format=pax", "--sparse-version=0.1"],
    "pax 1.0": ["--format=pax", "--sparse-version=1.0"],
}


def disk_bytes(store: Path, name: str) -> int:
    """What the file takes of the disk in the one layer that has it."""
    (path,) = (store / "layers").glob(f"*/*/{name}")
    return path.stat().st_blocks * 512


def sparse_archive(place: Path, options: list[str]) -> Path:
    with (place / "big").open("wb") as file:
        file.truncate(SIZE)
        for offset in (0, SIZE // 2, SIZE - 4):
            file.seek(offset)
            file.write(b"data")
    command = ["tar", "--sparse", "--owner=0", "--group=0", *options, "-C", str(place), "-cf", str(place / "big.tar"), "big"]
    subprocess.run(command, check=True)
    return place / "big.tar"


@needs("tar")
@pytest.mark.parametrize("name", FORMATS)
def test_a_sparse_file_of_gnu_tar_is_one_in_the_sandbox(start: Start, shelf: Shelf, store: Path, place: Path, name: str) -> None:
    image = shelf.exported(shelf.image_of([shelf.busybox(), sparse_archive(place, FORMATS[name])]))

    box = start(image)

    assert box.check_output(["stat", "-c", "%s", "/big"]) == f"{SIZE}\n"
    script = f"head -c 4 /big; tail -c 4 /big; dd if=/big bs=4 skip={SIZE // 8} count=1 2>/dev/null"
    assert box.check_output(["busybox", "sh", "-c", script]) == "data" * 3
    assert disk_bytes(store, "big") <= MOST_DISK_BYTES


def archive_of_zeros(path: Path) -> Path:
    """They compress to a few hundred KiB."""
    member = tarfile.TarInfo("big")
    member.size = SIZE
    piece = bytes(16 << 20)
    with path.open("wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file) as out:
        out.write(member.tobuf())
        for _ in range(SIZE // len(piece)):
            out.write(piece)
        out.write(bytes(1024))
    return path


def test_zeros_are_unpacked_without_a_place_on_the_disk(start: Start, shelf: Shelf, store: Path, place: Path) -> None:
    archive = archive_of_zeros(place / "zeros.tar.zst")
    assert archive.stat().st_size <= MOST_DISK_BYTES

    box = start(shelf.exported(shelf.image_of([shelf.busybox(), archive])))

    assert box.check_output(["stat", "-c", "%s", "/big"]) == f"{SIZE}\n"
    assert box.check_output(["busybox", "sh", "-c", "tail -c 4 /big | od -An -tx1"]).split() == ["00"] * 4
    assert disk_bytes(store, "big") <= MOST_DISK_BYTES
