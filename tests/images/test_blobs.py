"""Blobs: nothing unverified has a digest's name, and what was fetched in part is taken up."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lxsandbox import ImageError
from lxsandbox.images.blobs import Blobs, Part
from lxsandbox.images.digests import check_digest, digest_of

DATA = os.urandom(3_000_000)
DIGEST = digest_of(DATA)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path / "store"))


def parts(blobs: Blobs) -> list[int]:
    return [path.stat().st_size for path in Path(blobs.folder, "fetching").glob("*.part")]


def test_what_was_stored_is_read_back_by_its_digest(blobs: Blobs) -> None:
    digest = blobs.add(b"hello")

    assert digest == "sha256:" + hashlib.sha256(b"hello").hexdigest()
    assert blobs.read(digest, at_most=5) == b"hello"
    assert Path(blobs.folder, "blobs", "sha256", digest[7:]).read_bytes() == b"hello"
    assert blobs.size(digest) == 5
    assert not parts(blobs)


def test_what_has_no_digest_yet_gets_it_when_it_is_all_there(blobs: Blobs) -> None:
    assert blobs.add_stream([DATA[:1_000_000], b"", DATA[1_000_000:]]) == (DIGEST, len(DATA))
    assert blobs.add_stream([DATA]) == (DIGEST, len(DATA))
    assert blobs.read(DIGEST, at_most=len(DATA)) == DATA
    assert not parts(blobs)


def test_what_has_no_digest_yet_and_ends_by_an_error_leaves_nothing(blobs: Blobs) -> None:
    def broken() -> Iterator[bytes]:
        yield DATA
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        blobs.add_stream(broken())
    assert not [path for path in Path(blobs.folder).rglob("*") if path.is_file()]


def test_sha512_is_a_digest_too(blobs: Blobs) -> None:
    digest = "sha512:" + hashlib.sha512(b"hello").hexdigest()

    blobs.take_in(digest, 5, [b"hel", b"lo"])
    assert blobs.read(digest, at_most=5) == b"hello"


def test_what_is_not_as_its_digest_says_is_not_stored(blobs: Blobs) -> None:
    flipped = bytes([DATA[0] ^ 1]) + DATA[1:]

    with pytest.raises(ImageError, match="what came as"):
        blobs.take_in(DIGEST, len(DATA), [flipped])
    assert not blobs.has(DIGEST)
    assert parts(blobs) == [0]
    blobs.take_in(DIGEST, len(DATA), [DATA])
    assert blobs.read(DIGEST, at_most=len(DATA)) == DATA


def test_what_is_longer_than_it_was_said_to_be_is_refused_before_it_is_all_there(blobs: Blobs) -> None:
    with pytest.raises(ImageError, match="longer than the 250000 bytes"):
        blobs.take_in(DIGEST, 250_000, itertools.repeat(b"x" * 100_000))
    assert parts(blobs) == [0]


def test_what_ended_early_is_taken_up_where_it_ended(blobs: Blobs) -> None:
    with pytest.raises(ImageError, match=f"ended after 1000000 of {len(DATA)} bytes"):
        blobs.take_in(DIGEST, len(DATA), [DATA[:1_000_000]])
    assert not blobs.has(DIGEST)

    with blobs.fetching(DIGEST, len(DATA)) as part:
        assert part is not None
        assert part.offset == 1_000_000
        part.write(DATA[part.offset :])
    assert blobs.read(DIGEST, at_most=len(DATA)) == DATA
    assert not parts(blobs)


def test_what_ended_by_an_error_of_its_source_is_taken_up_too(blobs: Blobs) -> None:
    def broken() -> Iterator[bytes]:
        yield DATA[:10]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        blobs.take_in(DIGEST, len(DATA), broken())

    with blobs.fetching(DIGEST, len(DATA)) as part:
        assert part is not None
        assert part.offset == 10
        part.restart()
        part.write(DATA)
    assert blobs.has(DIGEST)


def test_what_is_there_is_not_fetched(blobs: Blobs) -> None:
    blobs.add(DATA)

    with blobs.fetching(DIGEST, len(DATA)) as part:
        assert part is None


def test_a_blob_that_the_disk_changed_is_removed_when_it_is_read(blobs: Blobs) -> None:
    digest = blobs.add(b"hello")
    Path(blobs.path(digest)).write_bytes(b"hellO")

    with pytest.raises(ImageError, match="damaged"):
        blobs.read(digest, at_most=10)
    assert not blobs.has(digest)


def test_a_large_blob_is_not_read_into_memory(blobs: Blobs) -> None:
    digest = blobs.add(DATA)

    with pytest.raises(ImageError, match="larger than 100 bytes"):
        blobs.read(digest, at_most=100)


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", "sha256:" + "A" * 64, "sha256:" + "0" * 63, "md5:" + "0" * 32, "sha256:../../../etc/passwd", None, 5,
     "sha256:" + "0" * 64 + "\n"],
)  # fmt: skip
def test_what_is_no_digest_never_becomes_a_path(blobs: Blobs, text: object) -> None:
    with pytest.raises(ImageError, match="is not a digest"):
        check_digest(text)
    if isinstance(text, str):
        with pytest.raises(ImageError):
            blobs.path(text)


def _fetch(folder: str, written: str) -> None:
    with Blobs(folder).fetching(DIGEST, len(DATA)) as part:
        if part is not None:
            with open(written, "ab") as file:
                file.write(b".")
            for start in range(part.offset, len(DATA), 100_000):
                part.write(DATA[start : start + 100_000])


def test_sixteen_processes_fetch_one_blob_once(blobs: Blobs, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_fetch, args=(blobs.folder, str(tmp_path / "written"))) for _ in range(16)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0] * 16
    assert (tmp_path / "written").read_bytes() == b"."
    assert blobs.read(DIGEST, at_most=len(DATA)) == DATA


def _fetch_half_and_wait(folder: str, ready: int) -> None:
    with Blobs(folder).fetching(DIGEST, len(DATA)) as part:
        assert isinstance(part, Part)
        part.write(DATA[:2_000_000])
        part._file.flush()
        os.write(ready, b"1")
        signal.pause()


def test_a_killed_process_leaves_a_part_and_no_lock(blobs: Blobs) -> None:
    read, write = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_fetch_half_and_wait, args=(blobs.folder, write))
    process.start()
    assert os.read(read, 1) == b"1"
    process.kill()
    process.join()
    os.close(read)
    os.close(write)
    process.close()

    with blobs.fetching(DIGEST, len(DATA)) as part:
        assert part is not None
        assert part.offset == 2_000_000
        part.write(DATA[2_000_000:])
    assert blobs.has(DIGEST)
