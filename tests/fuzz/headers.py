"""The headers of tar archives alone, in this process: thousands in the time that one archive takes to be unpacked."""

from __future__ import annotations

import io
import os
from random import Random

from fuzz.tars import tar

from lxsandbox.images.archives.layers import whole_tar
from lxsandbox.images.unpack.archive import Archive
from lxsandbox.images.unpack.headers import FILES, Entry
from lxsandbox.images.unpack.names import inside
from lxsandbox.images.unpack.whiteouts import mark_of

__all__ = ["Headers"]

_MOST_ENTRIES, _MOST_BYTES = 200, 1 << 40
_ID_OF_NONE = (1 << 32) - 1


class Headers:
    """Archives as sequences of entries."""

    name = "headers"

    def make(self, random: Random) -> tuple[bytes, bool]:
        """An archive, and whether it must be whole."""
        return tar(random), random.random() < 0.5

    def attempt(self, made: tuple[bytes, bool]) -> bool:
        content = os.memfd_create("content", os.MFD_CLOEXEC)
        try:
            _read(*made, content)
        finally:
            os.close(content)
        return True


def _read(data: bytes, whole: bool, content: int) -> None:
    archive = Archive(io.BytesIO(data), whole=whole, most_entries=_MOST_ENTRIES, most_bytes=_MOST_BYTES)
    count = size = 0
    while (entry := archive.next()) is not None:
        count += 1
        size += entry.real_size
        _check(entry)
        if entry.kind in FILES:
            os.ftruncate(content, 0)
            os.lseek(content, 0, os.SEEK_SET)
            archive.copy(content, entry.size)
            assert os.stat(content).st_size == entry.size
        path = inside(entry.name)
        assert b"/../" not in path + b"/"
        mark_of(path)
    assert count <= _MOST_ENTRIES
    assert size <= _MOST_BYTES
    for _ in whole_tar([data[at : at + 700] for at in range(0, len(data), 700)], "it"):
        pass


def _check(entry: Entry) -> None:
    assert 0 <= entry.size <= entry.real_size
    assert 0 <= entry.uid < _ID_OF_NONE
    assert 0 <= entry.gid < _ID_OF_NONE
    assert 0 <= entry.mode <= 0o7777
    if entry.segments is not None:
        end = 0
        for offset, count in entry.segments:
            assert end <= offset
            assert count > 0
            end = offset + count
        assert end <= entry.real_size
        assert sum(count for _, count in entry.segments) == entry.size
