"""An archive whose files are read where they are: it is gone through once for their places, and nothing is unpacked.

Of a compressed archive, going back means decompressing from its beginning; so what is small is kept as it goes by, and the rest
should be read in the order of `position`.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from lxsandbox.errors import ImageError
from lxsandbox.images.archives.sources import BLOCK_BYTES, open_regular, shown
from lxsandbox.images.compression import DAMAGE, compression_of, decompressed

__all__ = ["TarSource"]

_MOST_ENTRIES = 100_000
_MOST_BYTES = 64 << 30  # of a compressed archive, decompressed
_LARGEST_HEADER_BYTES = 1 << 20  # what tarfile reads at once, into memory: extended headers
_SMALL_BYTES, _MOST_KEPT_BYTES = 64 << 10, 16 << 20
_MOST_LINKS = 8  # from one entry to the next, and so on


@dataclass(frozen=True, slots=True)
class _Place:
    offset: int
    size: int
    link: str = ""  # the entry that is meant instead


class TarSource:
    """The files in a tar, plain or compressed. To be closed, or used in a `with`."""

    def __init__(self, path: str) -> None:
        self.name = path
        self._stream = _Stream(path)
        self._places: dict[str, _Place] = {}
        self._kept: dict[str, bytes] = {}
        self._may_keep = _MOST_KEPT_BYTES
        try:
            self._find_places()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()

    def has(self, entry: str) -> bool:
        """Whether there is a file, or a link, of that name."""
        return entry in self._places

    def size(self, entry: str) -> int:
        return self._place(entry)[1].size

    def position(self, entry: str, /) -> int:
        return self._place(entry)[1].offset

    def open(self, entry: str) -> BinaryIO:
        name, place = self._place(entry)
        if name in self._kept:
            return io.BytesIO(self._kept[name])
        return cast(BinaryIO, io.BufferedReader(_Member(self._stream, place, f"{self.name}: {shown(name)}"), BLOCK_BYTES))

    def _place(self, entry: str) -> tuple[str, _Place]:
        name = entry
        for _ in range(_MOST_LINKS):
            place = self._places.get(name)
            if place is None:
                by = "" if name == entry else f", which {shown(entry)} is a link to"
                raise ImageError(f"{self.name} has no {shown(name)}{by}", hint="it was cut short, or is another kind of archive")
            if not place.link:
                return name, place
            name = place.link
        raise ImageError(f"{self.name}: {shown(entry)} is a link that leads to no file")

    def _find_places(self) -> None:
        for member in self._members():
            name = self._inside(member.name, member.name)
            if member.size < 0:
                raise ImageError(f"{self.name}: entry {name!r:.300} is of {member.size} bytes")
            if member.issym():
                place = _Place(0, 0, self._inside(posixpath.join(posixpath.dirname(name), member.linkname), member.name))
            elif member.islnk():
                place = _Place(0, 0, self._inside(member.linkname, member.name))
            elif member.isreg() and not member.issparse():
                place = _Place(member.offset_data, member.size)
            else:
                continue
            if name in self._places:
                raise ImageError(f"{self.name} has two entries {name!r}", hint="which of them is meant, nobody can know")
            self._places[name] = place
            self._keep(name, place)

    def _members(self) -> Iterator[tarfile.TarInfo]:
        try:
            # It takes offsets from `tell`, so they are places in the stream.
            archive = cast(Any, tarfile.TarFile)(fileobj=_Headers(self._stream))
            for _ in range(_MOST_ENTRIES):
                member: tarfile.TarInfo | None = archive.next()
                if member is None:
                    return
                archive.members.clear()  # it would keep them all, with headers of any size
                yield member
        except (tarfile.TarError, ValueError, IndexError, RecursionError) as error:  # as tarfile raises, of cut or nested headers
            raise ImageError(f"{self.name} is no tar archive, or is damaged: {error}") from error
        raise ImageError(f"{self.name} has more than {_MOST_ENTRIES} entries")

    def _keep(self, name: str, place: _Place) -> None:
        if place.link or place.size > min(_SMALL_BYTES, self._may_keep):
            return
        self._may_keep -= place.size
        self._stream.seek(place.offset)
        self._kept[name] = self._stream.read_all(place.size, f"{self.name}: {shown(name)}")

    def _inside(self, name: str, entry: str) -> str:
        normal = posixpath.normpath(name)
        if normal.startswith(("/", "../")) or normal == "..":
            raise ImageError(f"{self.name}: entry {entry!r:.300} leads out of the archive")
        return normal


class _Stream:
    """What a file holds, decompressed, from any place of it."""

    def __init__(self, path: str) -> None:
        self._path = path
        with open_regular(path, path) as raw:
            self._plain = not compression_of(raw)
        self._open()

    def _open(self) -> None:
        self._file = decompressed(open_regular(self._path, self._path))
        self._at = 0

    def close(self) -> None:
        self._file.close()

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int) -> int:
        if self._plain:
            self._at = self._file.seek(offset)
            return self._at
        if offset < self._at:
            self._file.close()
            self._open()
        while self._at < offset and self.read(min(offset - self._at, BLOCK_BYTES)):
            pass
        return self._at

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; fewer at the end only. Raises ImageError for a file that is damaged."""
        try:
            data = self._file.read(count)
        except DAMAGE as error:
            raise ImageError(f"{self._path} is damaged: {error}", hint="make or fetch it again") from error
        self._at += len(data)
        if self._at > _MOST_BYTES and not self._plain:
            raise ImageError(f"{self._path} holds more than {_MOST_BYTES >> 30} GiB")
        return data

    def read_all(self, count: int, what: str) -> bytes:
        """`count` bytes. Raises ImageError where there are fewer."""
        data = self.read(count)
        if len(data) < count:
            raise ImageError(f"{what} was cut short: the archive ends in it")
        return data


class _Headers:
    """What tarfile reads headers from. It takes any size and place that a header names, so both are looked at here."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= _LARGEST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header is of {count} bytes")
        return self._stream.read(count)

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence or offset < self._stream.tell():
            raise tarfile.ReadError("a header leads back")
        return self._stream.seek(offset)

    def close(self) -> None:
        """The stream is for others to close."""


class _Member(io.RawIOBase):
    """One file of an archive. Several may be open at a time; each moves the stream to its own place."""

    def __init__(self, stream: _Stream, place: _Place, what: str) -> None:
        self._stream = stream
        self._place = place
        self._what = what
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._place.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), max(0, self._place.size - self._at), BLOCK_BYTES)
        if self._stream.tell() != self._place.offset + self._at:
            self._stream.seek(self._place.offset + self._at)
        buffer[:count] = self._stream.read_all(count, self._what)
        self._at += count
        return count
