"""Files are decompressed by what they are, and what comes out has the digest that is told."""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from pathlib import Path

import pytest
from rootfs_real.busybox import COMPRESS

from lxsandbox import ImageError
from lxsandbox.images.compression import pump

DATA = bytes(5000) + os.urandom(400_000) + bytes(5000)
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


def pumped(file: Path) -> tuple[str, bytes]:
    """The digest, and what came through."""
    read, write = os.pipe()
    received: list[bytes] = []

    def receive() -> None:
        with open(read, "rb") as end:
            received.append(end.read())

    reader = threading.Thread(target=receive)
    reader.start()
    try:
        digest = pump(str(file), write)
    finally:
        reader.join()
    return digest, received[0]


@pytest.mark.parametrize("kind", sorted(COMPRESS))
def test_what_comes_out_is_what_went_in_and_has_its_digest(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_bytes(COMPRESS[kind](DATA))

    assert pumped(tmp_path / "file") == (DIGEST, DATA)


@pytest.mark.parametrize("kind", ["bz2", "gz", "xz", "zst"])
def test_one_stream_behind_another_is_read_too(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_bytes(COMPRESS[kind](DATA[:1000]) + COMPRESS[kind](DATA[1000:]))

    assert pumped(tmp_path / "file") == (DIGEST, DATA)


@pytest.mark.parametrize("kind", ["bz2", "gz", "xz"])
def test_a_file_cut_short_or_changed_is_damaged(tmp_path: Path, kind: str) -> None:
    whole = COMPRESS[kind](DATA)
    middle = len(whole) // 2
    for damaged in (whole[:middle], whole[:middle] + bytes(64) + whole[middle + 64 :]):
        (tmp_path / "file").write_bytes(damaged)
        with pytest.raises(ImageError, match="is damaged"):
            pumped(tmp_path / "file")


def test_padding_behind_an_xz_stream_is_nothing_and_anything_else_is_damage(tmp_path: Path) -> None:
    whole = COMPRESS["xz"](DATA)
    (tmp_path / "file").write_bytes(whole + bytes(4096) + whole + bytes(8))
    assert pumped(tmp_path / "file")[1] == DATA + DATA

    (tmp_path / "file").write_bytes(whole + b"something else")
    with pytest.raises(ImageError, match="is damaged"):
        pumped(tmp_path / "file")


@pytest.mark.security
def test_an_xz_file_that_wants_gigabytes_of_memory_is_refused(tmp_path: Path) -> None:
    whole = COMPRESS["xz"](DATA)
    at = whole.index(
        b"\x21\x01", 12
    )  # of the block's header (xz format 3.1): filter LZMA2, one byte, which is the dictionary's size
    end = 12 + 4 * whole[12]
    header = whole[12 : at + 2] + bytes([40]) + whole[at + 3 : end]
    (tmp_path / "file").write_bytes(whole[:12] + header + zlib.crc32(header).to_bytes(4, "little") + whole[end + 4 :])

    with pytest.raises(ImageError, match="Memory usage limit exceeded"):
        pumped(tmp_path / "file")


def test_a_zstd_file_cut_short_does_not_have_the_digest_of_the_whole(tmp_path: Path) -> None:
    whole = COMPRESS["zst"](DATA)
    (tmp_path / "file").write_bytes(whole[: len(whole) // 2])

    digest, received = pumped(tmp_path / "file")
    assert (digest, DATA[: len(received)]) == ("sha256:" + hashlib.sha256(received).hexdigest(), received)
    assert digest != DIGEST


@pytest.mark.parametrize("kind", sorted(COMPRESS))
def test_a_reader_that_stops_early_is_no_error_and_gets_no_digest(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_bytes(COMPRESS[kind](DATA))
    read, write = os.pipe()
    os.close(read)

    assert pump(str(tmp_path / "file"), write) == ""


def test_an_empty_file_has_the_digest_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    assert pumped(tmp_path / "file") == ("sha256:" + hashlib.sha256(b"").hexdigest(), b"")
