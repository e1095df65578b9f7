"""Zeros take no place on the disk, however an archive has them: a small download cannot fill a disk with nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from images.unpack.making import END, file, hard_link
from images.unpack.unpacking import unpacked
from needs import needs

pytestmark = needs("user-namespaces")

KIB = 1024
MAP_BYTES = 64 * KIB  # what a file system itself takes for a map of where the pieces of a file are
DATA = random.Random(0).randbytes(64 * KIB)


def disk_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.mark.parametrize(
    ("content", "at_most"),
    [
        pytest.param(bytes(50_000 * KIB), 0, id="zeros alone"),
        pytest.param(bytes(50_000 * KIB + 1), 64 * KIB, id="one more than whole blocks"),
        pytest.param(DATA + bytes(20_000 * KIB) + DATA, 128 * KIB, id="in the middle"),
        pytest.param(DATA * 20 + bytes(20_000 * KIB), 20 * 64 * KIB, id="at the end"),
        pytest.param(bytes(20_000 * KIB) + DATA, 64 * KIB, id="at the beginning"),
        pytest.param(b"x" + bytes(20_000 * KIB) + b"x", 128 * KIB, id="across blocks"),
    ],
)
def test_runs_of_zeros_are_holes(tmp_path: Path, content: bytes, at_most: int) -> None:
    done = unpacked(file(b"x", content, mtime=7) + file(b"y", b"next") + END, tmp_path / "root")

    assert done.said == ""
    made = done.root / "x"
    assert made.read_bytes() == content
    assert disk_bytes(made) <= at_most + MAP_BYTES
    assert made.stat().st_mtime == 7
    assert (done.root / "y").read_bytes() == b"next"


@pytest.mark.parametrize(
    "size", [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, KIB * KIB - 1, KIB * KIB, KIB * KIB + 1, 3 * KIB * KIB]
)
@pytest.mark.parametrize("start", [b"", b"x", DATA])
def test_a_file_is_as_long_as_it_was_whatever_is_a_hole(tmp_path: Path, start: bytes, size: int) -> None:
    done = unpacked(file(b"x", start + bytes(size)) + hard_link(b"y", b"x") + END, tmp_path / "root")

    assert (done.root / "x").read_bytes() == (done.root / "y").read_bytes() == start + bytes(size)
