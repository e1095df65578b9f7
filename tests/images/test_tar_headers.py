"""What a header says is read back by the standard library's own reader, whatever it is."""

from __future__ import annotations

import io
import os
import stat
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from lxsandbox.images.tar_headers import entry, mark

NAMES = st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name and not name.endswith(b"/"))
KEYS = st.text(min_size=1, max_size=20).filter(lambda key: "\0" not in key)


def read(data: bytes) -> tarfile.TarInfo:
    with tarfile.open(fileobj=io.BytesIO(data + bytes(1024)), mode="r:") as archive:
        (member,) = archive.getmembers()
        return member


def status(mode: int, owner: tuple[int, int] = (0, 0), mtime_ns: int = 0) -> os.stat_result:
    fields = [mode, 1, 1, 1, *owner, 0, 0, mtime_ns // 10**9, 0]
    return os.stat_result([*fields, 0.0, mtime_ns / 1e9, 0.0, 0, mtime_ns, 0])


@given(NAMES, NAMES)
def test_names_are_read_back_as_they_were(name: bytes, target: bytes) -> None:
    member = read(entry(os.fsdecode(name), status(stat.S_IFLNK | 0o777), link=os.fsdecode(target)))

    assert os.fsencode(member.name) == name
    assert os.fsencode(member.linkname) == target


@given(st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2), st.integers(0, 0o7777))
def test_owners_and_modes_are_read_back_as_they_were(uid: int, gid: int, mode: int) -> None:
    member = read(entry("file", status(stat.S_IFDIR | mode, (uid, gid))))

    assert (member.uid, member.gid, member.mode) == (uid, gid, mode)


@given(st.integers(-(2**60), 2**62))
def test_times_are_read_back_to_the_nanosecond(mtime_ns: int) -> None:
    member = read(entry("file", status(stat.S_IFREG, mtime_ns=mtime_ns)))

    seconds, _, fraction = str(member.pax_headers.get("mtime", int(member.mtime))).partition(".")
    sign = -1 if seconds.startswith("-") else 1
    assert sign * (abs(int(seconds)) * 10**9 + int(fraction.ljust(9, "0") or "0")) == mtime_ns


@given(st.dictionaries(KEYS, st.binary(max_size=2000), max_size=4))
def test_attributes_are_read_back_as_they_were(attributes: dict[str, bytes]) -> None:
    member = read(entry("file", status(stat.S_IFREG), attributes={f"user.{key}": value for key, value in attributes.items()}))

    found = {
        key.removeprefix("SCHILY.xattr.user.").replace("%3D", "=").replace("%25", "%"): value.encode("utf-8", "surrogateescape")
        for key, value in member.pax_headers.items()
    }
    assert found == attributes


def test_a_size_beyond_eleven_digits_is_read_back() -> None:
    header = entry("file", status(stat.S_IFREG), size=8**11 + 5)

    with tarfile.open(fileobj=io.BytesIO(header), mode="r|") as archive:
        assert next(iter(archive)).size == 8**11 + 5


def test_a_mark_with_a_long_name_is_read_back() -> None:
    assert read(mark("a" * 200)).name == "a" * 200
