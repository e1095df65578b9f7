"""A tar stream as its entries, one after another, and their contents.

Entries and bytes are counted as headers announce them, before anything is made or allocated for them.
"""

import os
from collections.abc import Iterator
from io import BufferedIOBase

from lxsandbox.images.unpack.headers import BLOCK_BYTES, Entry, apply_pax, check_sum, parse_header, parse_number, parse_pax
from lxsandbox.images.unpack.refusal import Refused, quoted
from lxsandbox.images.unpack.sparse import read_map

__all__ = ["MOST_BYTES", "MOST_ENTRIES", "Archive"]

MOST_ENTRIES = 2_000_000
MOST_BYTES = 64 << 30
_MOST_EXTENSION_BYTES = 1 << 20  # of one entry, and of all global records at a time
_MOST_GLOBALS = 100
_PIECE_BYTES = 1 << 20
_HOLE_BYTES = 64 << 10  # zeros by as many, or more, are left out: what a file has of them takes no place on the disk
_HOLE = bytearray(_HOLE_BYTES)
_ZEROS = bytes(BLOCK_BYTES)
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _LABEL = b"L", b"K", b"x", b"g", b"V"
_EXTENSIONS = frozenset((_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _LABEL))


class Archive:
    """The archive that `file` yields. `whole`: the two blocks of zeros at its end must be there; nothing else vouches for it."""

    def __init__(
        self, file: BufferedIOBase, *, whole: bool, most_entries: int = MOST_ENTRIES, most_bytes: int = MOST_BYTES
    ) -> None:
        self._file = file
        self._whole = whole
        self._most_entries, self._most_bytes = most_entries, most_bytes
        self._entries = self._bytes = 0
        self._last = b""  # name of the entry before
        self._left = self._padding = 0  # of the current entry
        self._global: dict[bytes, bytes] = {}
        self._buffer = bytearray(_PIECE_BYTES)
        self._piece = memoryview(self._buffer)

    def next(self) -> Entry | None:
        """The next entry; what was not copied of the one before is skipped. None at the end. Raises Refused."""
        long_name = long_link = b""
        records: list[tuple[bytes, bytes]] = []
        extensions = 0
        while (block := self._header()) is not None:
            kind = block[156:157]
            if kind not in _EXTENSIONS:
                return self._entry(block, long_name, long_link, records)
            content = self._extension(block, _MOST_EXTENSION_BYTES - extensions)
            extensions += len(content)
            if kind == _LONG_NAME:
                long_name = content.partition(b"\0")[0]
            elif kind == _LONG_LINK:
                long_link = content.partition(b"\0")[0]
            elif kind == _PAX:
                records += self._records(content)
            elif kind == _PAX_GLOBAL:
                self._take_globals(content)
        if extensions:
            raise Refused(f"the archive ends {self._after()}, within the headers of another")
        return None

    def copy(self, fd: int, count: int) -> None:
        """Write the next `count` bytes of the current entry's content to the descriptor of a new file. Raises Refused, OSError.

        Long runs of zeros become holes.
        """
        self._left -= count
        while count:
            size = min(count, _PIECE_BYTES)
            self._fill(self._piece[:size])
            count -= size
            at = 0
            for start, end in self._holes(size):
                self._write(fd, at, start)
                os.lseek(fd, end - start, os.SEEK_CUR)
                at = end
            self._write(fd, at, size)
            if at == size and not count:  # the last is a hole, which by itself makes a file no longer
                os.ftruncate(fd, os.lseek(fd, 0, os.SEEK_CUR))

    def pieces(self, count: int) -> Iterator[memoryview]:
        """The next `count` bytes of the current entry's content; each piece is good until the next one. Raises Refused."""
        self._left -= count
        while count:
            piece = self._piece[: min(count, _PIECE_BYTES)]
            self._fill(piece)
            count -= len(piece)
            yield piece

    def _holes(self, size: int) -> Iterator[tuple[int, int]]:
        """Where in the first `size` bytes of the buffer are blocks of zeros only."""
        for start in range(0, size - _HOLE_BYTES + 1, _HOLE_BYTES):
            end = start + _HOLE_BYTES
            # Of most blocks the first byte says that they are none, and they are not copied.
            if not self._buffer[start] and not self._buffer[end - 1] and self._buffer[start:end] == _HOLE:
                yield start, end

    def _write(self, fd: int, start: int, end: int) -> None:
        while start < end:
            start += os.write(fd, self._piece[start:end])

    def _header(self) -> bytes | None:
        """The next header, its checksum right; None at the end of the archive."""
        if self._left:
            self._skip()
        block = self._file.read(self._padding + BLOCK_BYTES)
        if len(block) <= self._padding:
            # An entry is the last one, padded or not: umoci writes such layers, and a digest says that nothing is missing.
            if self._whole:
                raise self._cut()
            return None
        if self._padding:
            block = block[self._padding :]
            self._padding = 0
        if len(block) < BLOCK_BYTES:
            raise self._cut()
        if block == _ZEROS:
            self._check_end()
            return None
        if not check_sum(block):
            raise Refused(f"what stands {self._after()} is no header: this is no tar archive, or a damaged one")
        return block

    def _entry(self, block: bytes, long_name: bytes, long_link: bytes, records: list[tuple[bytes, bytes]]) -> Entry:
        try:
            entry = parse_header(block)
            if self._global or records:
                apply_pax(entry, self._effective(dict(records)))
            if long_name:
                entry.name = long_name
            if long_link:
                entry.link = long_link
            self._last = entry.name
            self._announce(entry.size)
            if records or entry.kind == b"S":
                read_map(entry, block, records, self._block)
                self._last = entry.name
                self._announce(entry.real_size - entry.size)
        except Refused as error:
            name = long_name or dict(records).get(b"path") or block[:100].partition(b"\0")[0]
            raise Refused(f"entry {quoted(name)}: {error}") from None
        self._entries += 1
        self._left, self._padding = entry.size, -entry.size % BLOCK_BYTES
        return entry

    def _effective(self, records: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """Of an entry's own records and the global ones those that count; an own one without a value takes a global one away."""
        return {key: value for key, value in (self._global | records).items() if value or key not in self._global}

    def _announce(self, size: int) -> None:
        """Count what is to come. Raises Refused where it is too much."""
        self._bytes += max(size, 0)
        if self._entries >= self._most_entries or self._bytes > self._most_bytes:
            raise Refused(f"with it the archive has more than {self._most_entries} entries or {self._most_bytes} bytes")

    def _extension(self, block: bytes, most: int) -> bytes:
        """The content of a header that speaks about the next entry."""
        size = parse_number(block[124:136], "size")
        if not 0 <= size <= most:
            raise Refused(f"the header that stands {self._after()} has {size} bytes of text, and {most} are taken")
        self._bytes += size
        content = self._file.read(size + -size % BLOCK_BYTES)
        if len(content) < size + -size % BLOCK_BYTES:
            raise self._cut()
        return content[:size]

    def _records(self, content: bytes) -> list[tuple[bytes, bytes]]:
        try:
            return parse_pax(content)
        except Refused as error:
            raise Refused(f"in the header that stands {self._after()} {error}") from None

    def _take_globals(self, content: bytes) -> None:
        self._global.update(self._records(content))
        if len(self._global) > _MOST_GLOBALS:  # each of them is looked at for each entry
            raise Refused(f"there are more than {_MOST_GLOBALS} global records {self._after()}")
        if sum(len(key) + len(value) for key, value in self._global.items()) > _MOST_EXTENSION_BYTES:
            raise Refused(f"there are more than {_MOST_EXTENSION_BYTES} bytes of global records {self._after()}")

    def _block(self) -> bytes:
        block = self._file.read(BLOCK_BYTES)
        if len(block) < BLOCK_BYTES:
            raise self._cut()
        return block

    def _fill(self, piece: memoryview) -> None:
        if self._file.readinto(piece) < len(piece):
            raise self._cut()

    def _skip(self) -> None:
        while self._left:
            piece = self._piece[: min(self._left, _PIECE_BYTES)]
            self._fill(piece)
            self._left -= len(piece)

    def _check_end(self) -> None:
        """After a first block of zeros: a second one, or nothing at all, and then zeros only, to a bound."""
        second = self._file.read(BLOCK_BYTES)
        rest = second.strip(b"\0")
        while not rest and (piece := self._file.read(_PIECE_BYTES)):
            self._bytes += len(piece)
            rest = piece.strip(b"\0")
            if self._bytes > self._most_bytes:
                raise Refused(f"the archive has more than {self._most_bytes} bytes of zeros at its end")
        if rest:
            raise Refused(f"the archive goes on behind its end, {self._after()}, with something else than zeros")

    def _cut(self) -> Refused:
        return Refused(f"the archive was cut short {self._after()}" + (" or in it" if self._last else ""))

    def _after(self) -> str:
        return f"after entry {quoted(self._last)}" if self._last else "at its beginning"
