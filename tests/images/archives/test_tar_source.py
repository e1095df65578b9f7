"""Archives from others: read where they are, and whatever is wrong with them is said with the file and the entry."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images.unpack.making import header

from lxsandbox import ImageError
from lxsandbox.images.archives import tar_source
from lxsandbox.images.archives.sources import blocks_of, read_document
from lxsandbox.images.archives.tar_source import TarSource


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size
    return made


def write(path: Path, *members: tarfile.TarInfo, data: bytes = b"content") -> str:
    with tarfile.open(path, "w") as archive:
        for each in members:
            if each.type == tarfile.REGTYPE:
                each.size = len(data)
            archive.addfile(each, io.BytesIO(data))
    return str(path)


def test_links_lead_to_files_of_the_archive(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tar",
        member("./x/layer.tar"),
        member("y/layer.tar", tarfile.SYMTYPE, "../x/layer.tar"),
        member("z", tarfile.LNKTYPE, "y/layer.tar"),
    )

    with TarSource(path) as source:
        assert read_document(source, "z") == b"content"
        assert source.size("y/layer.tar") == 7


def test_files_are_read_side_by_side(tmp_path: Path) -> None:
    contents = {name: os.urandom(300_000) for name in "abc"}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in contents.items():
            archive.addfile(member(name, size=len(data)), io.BytesIO(data))
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(out.getvalue()))

    with TarSource(str(tmp_path / "a.tar.gz")) as source, source.open("c") as last, source.open("a") as first:
        assert last.read(1000) == contents["c"][:1000]
        assert first.read() == contents["a"]
        assert last.read() == contents["c"][1000:]
        assert b"".join(blocks_of(source, "b")) == contents["b"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (member("../x"), "entry '../x' leads out"),
        (member("a/../../x"), "entry 'a/../../x' leads out"),
        (member("/x"), "entry '/x' leads out"),
        (member("x", tarfile.SYMTYPE, "../../etc/passwd"), "entry 'x' leads out"),
        (member("x", tarfile.SYMTYPE, "/etc/passwd"), "entry 'x' leads out"),
        (member("x", tarfile.LNKTYPE, "../x"), "entry 'x' leads out"),
        (member("a/./file"), "two entries 'a/file'"),
    ],
)
def test_entries_that_mean_mischief_are_named(tmp_path: Path, bad: tarfile.TarInfo, said: str) -> None:
    path = write(tmp_path / "a.tar", member("a/file"), bad)

    with pytest.raises(ImageError, match=said) as raised:
        TarSource(path)
    assert path in raised.value.message


@pytest.mark.parametrize(
    ("name", "said"),
    [("circle", "link that leads to no file"), ("dangling", "has no gone, which dangling is a link to"), ("fifo", "has no fifo"),
     ("folder", "has no folder"), ("nothing", "has no nothing")],
)  # fmt: skip
def test_what_is_no_file_is_named(tmp_path: Path, name: str, said: str) -> None:
    members = [
        member("circle", tarfile.SYMTYPE, "circle"),
        member("dangling", tarfile.SYMTYPE, "gone"),
        member("fifo", tarfile.FIFOTYPE),
        member("folder", tarfile.DIRTYPE),
    ]
    with TarSource(write(tmp_path / "a.tar", *members)) as source, pytest.raises(ImageError, match=said):
        read_document(source, name)


def test_endless_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_source, "_MOST_ENTRIES", 10)
    path = write(tmp_path / "a.tar", *[member(str(n)) for n in range(11)])

    with pytest.raises(ImageError, match="more than 10 entries"):
        TarSource(path)


def test_endless_content_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_source, "_MOST_BYTES", 1 << 20)
    path = tmp_path / "a.tar"
    write(path, member("zeros"), data=bytes(4 << 20))
    path.write_bytes(gzip.compress(path.read_bytes()))

    with pytest.raises(ImageError, match="holds more than"):
        TarSource(str(path))


def extended_header(size: int) -> bytes:
    return member("x", tarfile.XHDTYPE, size=size).tobuf(tarfile.GNU_FORMAT)


def test_a_header_is_not_read_into_memory_whatever_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(extended_header(1 << 40))

    with pytest.raises(ImageError, match="a header is of 1099511627776 bytes"):
        TarSource(str(path))


def test_headers_about_headers_come_to_an_end(tmp_path: Path) -> None:
    record = b"11 comment=\n".ljust(512, b"\0")
    path = tmp_path / "a.tar"
    path.write_bytes((extended_header(11) + record) * 5000)

    with pytest.raises(ImageError, match="is damaged"):
        TarSource(str(path))


def test_an_archive_that_ends_within_the_map_of_a_sparse_file_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(header(b"holes", b"S", magic=b"ustar  \0", rest=bytes(137) + b"\1"))  # the map goes on in another block

    with pytest.raises(ImageError, match="is damaged"):
        TarSource(str(path))


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo, lambda path: None])
def test_what_is_no_file_is_no_archive(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.tar")

    with pytest.raises(ImageError, match=r"a\.tar (is not a file|cannot be read)"):
        TarSource(str(tmp_path / "a.tar"))


@pytest.mark.parametrize(
    "data",
    [b"", b"no archive" * 1000, gzip.compress(b"no archive" * 1000), bytes(100)],
    ids=["empty", "text", "compressed-text", "zeros"],
)
def test_what_is_no_tar_is_said_so(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(data)

    with pytest.raises(ImageError, match="is no tar archive"):
        TarSource(str(tmp_path / "a.tar"))


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_an_archive_that_was_cut_short_is_said_so(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.tar"
    write(path, member("file"), data=os.urandom(500_000))
    whole = compress(path.read_bytes())
    path.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(ImageError, match=r"damaged|cut short"), TarSource(str(path)) as source:
        list(blocks_of(source, "file"))


def test_an_archive_that_gets_shorter_while_it_is_read_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write(path, member("file"), data=os.urandom(500_000))

    with TarSource(str(path)) as source:
        os.truncate(path, 100_000)
        with pytest.raises(ImageError, match=f"{path}: file was cut short"):
            list(blocks_of(source, "file"))


KEYS = ["path", "linkpath", "size", "uid", "mtime", "hdrcharset", "comment", "GNU.sparse.major", "GNU.sparse.minor",
        "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.name", "GNU.sparse.realsize", "GNU.sparse.offset"]  # fmt: skip
VALUES = st.sampled_from(["", "0", "1", "-1", "-512", "99999999999", "1e999", "x", "1,2", "BINARY", "a/b"]) | st.text(max_size=4)
TYPES = st.sampled_from([bytes([each]) for each in b"01234567SLKxgDMNV\0"])


@given(st.lists(st.tuples(TYPES, st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3), st.integers(0, 1024)), max_size=4))
@settings(max_examples=300, deadline=None)
def test_no_archive_makes_anything_but_an_image_error(entries: list[tuple[bytes, dict[str, str], int]]) -> None:
    with tempfile.NamedTemporaryFile() as file:
        for number, (kind, records, size) in enumerate(entries):
            made = member(str(number), kind, link="0", size=size)
            made.pax_headers = records
            file.write(made.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogatepass") + b"7 x=y\n\n".ljust(size, b"0"))
        file.write(bytes(1024))
        file.flush()
        try:
            with TarSource(file.name) as source:
                for number in range(len(entries)):
                    if source.has(str(number)):
                        list(blocks_of(source, str(number)))
        except ImageError:
            pass
