"""Headers are read as their formats have them; no bytes make anything but an entry or a refusal."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images.unpack.making import END, file, folder, global_pax, header, long_name, pax

from lxsandbox.images.unpack.archive import Archive
from lxsandbox.images.unpack.headers import Entry, apply_pax, check_sum, parse_header, parse_number, parse_pax
from lxsandbox.images.unpack.names import inside
from lxsandbox.images.unpack.refusal import Refused, quoted
from lxsandbox.images.unpack.sparse import read_map
from lxsandbox.images.unpack.whiteouts import mark_of


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644), (b"   644 \0", 0o644), (b"644\0junk", 0o644), (b"\0" * 8, 0), (b" " * 8, 0), (b"00000644", 0o644),
        (b"\x80" + b"\0" * 6 + b"\x07", 7), (b"\xff" * 8, -1), (b"\xff" * 7 + b"\xfe", -2),
        (b"\x80" + b"\xff" * 7, (1 << 56) - 1), (b"\x80\0\0\0" + (1 << 40).to_bytes(8, "big"), 1 << 40),
    ],
)  # fmt: skip
def test_numbers_are_octal_or_base_256(field: bytes, value: int) -> None:
    assert parse_number(field, "size") == value


@given(st.integers(min_value=-(1 << 86), max_value=(1 << 86) - 1))
def test_what_tarfile_writes_in_base_256_is_read_back(value: int) -> None:
    field = tarfile.itn(value, 12, tarfile.GNU_FORMAT) if not 0 <= value < 8**11 else b"%011o\0" % value

    assert parse_number(field, "size") == value


def test_a_name_is_joined_of_its_two_parts() -> None:
    assert parse_header(header(b"n" * 100, prefix=b"p" * 155)).name == b"p" * 155 + b"/" + b"n" * 100
    # Of GNU's headers these bytes are times, and of Schily's the last are.
    assert parse_header(header(b"name", magic=b"ustar  \0", rest=b"12345670\0")).name == b"name"
    star = b"p".ljust(131, b"\0") + b"00000000000 00000000000 ".ljust(32, b"\0") + b"tar\0"
    assert parse_header(header(b"name", rest=star)).name == b"p/name"


def test_a_folder_of_v7_is_one_by_its_name() -> None:
    assert parse_header(header(b"x/", b"\0", magic=bytes(8))).kind == b"5"
    assert parse_header(header(b"x", b"\0", magic=bytes(8))).kind == b"\0"


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6"])
def test_what_can_have_no_content_has_none_whatever_its_size(kind: bytes) -> None:
    assert parse_header(header(b"x", kind, size=512)).size == 0


def test_a_checksum_of_old_that_took_bytes_as_signed_is_right_too() -> None:
    block = header(b"\xe4\xf6\xfc")
    unsigned = sum(block[:148] + block[156:]) + 256

    assert check_sum(block)
    assert check_sum(block[:148] + b"%06o\0 " % (unsigned - 3 * 256) + block[156:])
    assert not check_sum(block[:148] + b"%06o\0 " % (unsigned - 256) + block[156:])


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.binary(max_size=200)), max_size=5))
def test_pax_records_are_read_back_whatever_is_in_them(records: list[tuple[bytes, bytes]]) -> None:
    records = [(key.replace(b"=", b"_").replace(b"\0", b"_"), value) for key, value in records]
    content = pax(*records)
    size = parse_number(content[124:136], "size")

    assert parse_pax(content[512 : 512 + size]) == records


@pytest.mark.parametrize(
    ("value", "nanoseconds"),
    [(b"1", 10**9), (b"1.5", 15 * 10**8), (b"-1.5", -15 * 10**8), (b"0.123456789999", 123_456_789), (b"7.", 7 * 10**9)],
)  # fmt: skip
def test_times_of_pax_have_nanoseconds(value: bytes, nanoseconds: int) -> None:
    entry = parse_header(header(b"x"))

    apply_pax(entry, {b"mtime": value})
    assert entry.mtime_ns == nanoseconds


def entries(archive: bytes, **bounds: int) -> list[Entry]:
    reader = Archive(io.BytesIO(archive), whole=True, **bounds)
    found = []
    while (entry := reader.next()) is not None:
        found.append(entry)
    return found


def test_a_global_record_counts_until_an_own_or_another_one() -> None:
    archive = (
        global_pax((b"uid", b"5"), (b"gid", b"6"))
        + file(b"a") + pax((b"uid", b"7")) + file(b"b") + pax((b"uid", b"")) + file(b"c", uid=1)
        + global_pax((b"uid", b"9")) + file(b"d") + END
    )  # fmt: skip

    assert [(entry.uid, entry.gid) for entry in entries(archive)] == [(5, 6), (7, 6), (1, 6), (9, 6)]


def test_a_long_name_is_of_the_next_entry_alone() -> None:
    assert [entry.name for entry in entries(long_name(b"l" * 300) + file(b"a") + file(b"b") + END)] == [b"l" * 300, b"b"]


def test_entries_and_bytes_are_counted_before_anything_is_done_for_them() -> None:
    files = file(b"a", b"x" * 100) + folder(b"b") + file(b"c", b"x" * 100)

    assert len(entries(files + END, most_entries=3, most_bytes=200)) == 3
    with pytest.raises(Refused, match="entry 'c': with it the archive has more than 2 entries"):
        entries(files + END, most_entries=2)
    with pytest.raises(Refused, match=r"entry 'c': with it the archive has more than .* or 199 bytes"):
        entries(files + END, most_bytes=199)
    with pytest.raises(Refused, match="entry 'c': "):  # its content is not there
        entries(file(b"a") + header(b"c", size=1000), most_bytes=999)
    holes = pax((b"GNU.sparse.size", b"1000"), (b"GNU.sparse.map", b"0,1")) + file(b"holes", b"x")
    with pytest.raises(Refused, match="entry 'holes': with it"):
        entries(holes + END, most_bytes=999)
    with pytest.raises(Refused, match="more than 5000 bytes of zeros"):
        entries(END + bytes(6000), most_bytes=5000)


def test_a_name_in_an_error_is_short_and_harmless() -> None:
    assert quoted(b"\x1b]0;x\x07\xff\n") == r"'\x1b]0;x\x07\udcff\n'"
    assert len(quoted(b"x" * 5000)) < 250


ANY_BLOCK = st.binary(min_size=512, max_size=512)
PARTS = st.sampled_from(
    [file(b"a", b"x" * 600), folder(b"b/"), long_name(b"n" * 200), pax((b"path", b"x")), global_pax((b"size", b"3")), END,
     pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"512")), file(b"s", b"1\n0\n512\n")]
)  # fmt: skip


@given(ANY_BLOCK)
@settings(max_examples=300, deadline=None)
def test_no_header_makes_anything_but_an_entry_or_a_refusal(block: bytes) -> None:
    check_sum(block)
    try:
        entry = parse_header(block)
        read_map(entry, block, [], lambda: block)
        inside(entry.name)
        mark_of(b"/" + entry.name)
    except Refused:
        return
    assert 0 <= entry.size < 1 << 62
    assert 0 <= entry.uid < (1 << 32) - 1


@given(
    st.lists(PARTS | ANY_BLOCK, max_size=6),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4),
    st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_no_archive_makes_anything_but_entries_or_a_refusal(
    parts: list[bytes], flips: list[tuple[int, int]], mended: bool
) -> None:
    data = bytearray(b"".join(parts))
    for at, value in flips:
        if at < len(data):
            data[at] = value
    if mended:  # or hardly anything would get beyond the checksum
        for at in range(0, len(data) - 511, 512):
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    try:
        said = f"{len(entries(bytes(data)))} entries"
    except Refused as refused:
        said = str(refused)
    assert said.isprintable()


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_pax_header_makes_anything_but_records_or_a_refusal(content: bytes) -> None:
    try:
        apply_pax(parse_header(header(b"x")), dict(parse_pax(content)))
    except Refused:
        pass


SPARSE_KEYS = [b"GNU.sparse." + key for key in (b"map", b"size", b"major", b"minor", b"realsize", b"offset", b"numbytes")]
KEYS = st.sampled_from([b"size", b"uid", b"mtime", b"path", b"linkpath", *SPARSE_KEYS])
VALUES = st.sampled_from([b"0", b"1", b"-1", b"512", b"0,512", b"0,1,1,511", b"x", b"1.5", b"9" * 30, b"..", b""]) | st.binary(
    max_size=8
)


@given(st.lists(st.tuples(KEYS, VALUES), max_size=8), st.binary(max_size=1100))
@settings(max_examples=400, deadline=None)
def test_no_record_makes_anything_but_an_entry_or_a_refusal(records: list[tuple[bytes, bytes]], content: bytes) -> None:
    try:
        (entry,) = entries(pax(*records) + file(b"x", content) + END)
    except Refused:
        return
    assert entry.real_size >= 0
    assert entry.segments is None or sum(count for _, count in entry.segments) == entry.size
