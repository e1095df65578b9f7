"""Reading a layer's archive as a tree of values; what its entries mean is as in `images.unpack`, which makes files of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from lxsandbox.images.digests import hasher_for
from lxsandbox.images.layer_trees import WHITEOUT, Content, Folder, Node, Record
from lxsandbox.images.unpack import whiteouts
from lxsandbox.images.unpack.archive import MOST_ENTRIES, Archive
from lxsandbox.images.unpack.attributes import is_kept
from lxsandbox.images.unpack.folders import MOST_DEPTH, MOST_LINKS, MOST_STEPS
from lxsandbox.images.unpack.headers import DEVICES, FIFO, FILES, FOLDER, HARD_LINK, LINK, Entry
from lxsandbox.images.unpack.names import inside
from lxsandbox.images.unpack.refusal import Refused, quoted

__all__ = ["read_layer"]

_MARK = b".wh."
_NANO = 1_000_000_000
_BLOCK_BYTES = 1 << 20
_ZEROS = memoryview(bytes(_BLOCK_BYTES))


def read_layer(stream: BinaryIO, diff_id: str, is_hashed: Callable[[int], bool]) -> tuple[Folder, dict[int, str]]:
    """The tree that the archive `stream` makes by itself, and the digests of the contents that are hashed, by entry.

    `is_hashed` is asked with the number of each file's entry. Raises Refused for a layer that is damaged, or not the one with
    this diff id.
    """
    checked = _Checked(stream, diff_id)
    with io.BufferedReader(checked, _BLOCK_BYTES) as blocks:
        reader = _Reader(Archive(blocks, whole=False), diff_id, is_hashed)
        reader.run()
        while blocks.read(_BLOCK_BYTES):  # the digest is of all that there is
            pass
    if checked.hasher.hexdigest() != diff_id.partition(":")[2]:
        raise Refused(f"what it holds has another digest than its image's configuration says, {diff_id}")
    return reader.root, reader.digests


class _Checked(io.RawIOBase):
    """Another stream, hashed as it is read."""

    def __init__(self, stream: BinaryIO, diff_id: str) -> None:
        self._stream = stream
        self.hasher = hasher_for(diff_id)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self.hasher.update(data)
        return len(data)


class _Reader:
    def __init__(self, archive: Archive, diff_id: str, is_hashed: Callable[[int], bool]) -> None:
        self._archive = archive
        self._diff_id = diff_id
        self._is_hashed = is_hashed
        self._number = self._made = self._steps = 0
        self.root = Folder()
        self.digests: dict[int, str] = {}

    def run(self) -> None:
        while (entry := self._archive.next()) is not None:
            try:
                self._put(entry)
            except Refused as error:
                raise Refused(f"entry {quoted(entry.name)}: {error}") from None
            except NotADirectoryError:
                raise Refused(f"entry {quoted(entry.name)}: lies below what is no folder") from None
            self._number += 1

    def _put(self, entry: Entry) -> None:
        path = inside(entry.name)
        parent, _, name = path.rpartition(b"/")
        mark = whiteouts.mark_of(path) if b"/" + _MARK in path else ""
        if mark:
            self._mark(mark, parent, name)
        elif not name:
            if entry.kind != FOLDER:
                raise Refused("is the root, and no folder")
        elif entry.kind == FOLDER:
            self._folder(self._find(parent), name).record = self._record(entry)
        elif entry.kind == HARD_LINK:
            self._find(parent).children[name] = self._linked(entry.link)
        elif entry.kind in DEVICES and entry.device == (0, 0):
            self._find(parent).children.pop(name, None)  # no device has these numbers, and none is made
        else:
            self._find(parent).children[name] = self._record(entry)

    def _mark(self, mark: str, parent: bytes, name: bytes) -> None:
        if mark == whiteouts.IGNORED:
            return
        try:
            folder = self._find(parent, through_whiteouts=False)
        except NotADirectoryError:
            return  # what this layer has there hides all that lower ones have
        if mark == whiteouts.OPAQUE:
            folder.opaque = True
            return
        found = folder.children.setdefault(name.removeprefix(_MARK), WHITEOUT)
        if isinstance(found, Folder):
            found.opaque = True

    def _folder(self, parent: Folder, name: bytes) -> Folder:
        """The folder of that name, made where there is something else; what that was hid what lower layers have."""
        found = parent.children.get(name)
        if isinstance(found, Folder):
            return found
        if self._made >= MOST_ENTRIES:
            raise Refused(f"with it there are more than {MOST_ENTRIES} folders")
        self._made += 1
        made = parent.children[name] = Folder(opaque=found is not None)
        return made

    def _find(self, path: bytes, *, through_whiteouts: bool = True, make: bool = True) -> Folder:
        """Where the folder `path` leads, through links of this layer; missing ones are made, unless `make` is False.

        Raises Refused, NotADirectoryError, FileNotFoundError.
        """
        ahead, way, links = path.split(b"/")[::-1], [self.root], 0
        while ahead:
            part = ahead.pop()
            found = way[-1].children.get(part)
            if part == b"..":
                del way[max(1, len(way) - 1) :]
            elif isinstance(found, Record) and found.kind == LINK:
                links += 1
                del way[1 if found.link.startswith(b"/") else len(way) :]
                ahead += found.link.split(b"/")[::-1]
            elif part not in (b"", b"."):
                way.append(self._step(way[-1], part, found, through_whiteouts=through_whiteouts, make=make))
            self._count(links, len(way) - 1)
        return way[-1]

    def _step(self, parent: Folder, name: bytes, found: Node | None, *, through_whiteouts: bool, make: bool) -> Folder:
        if found is None and not make:
            raise FileNotFoundError
        if isinstance(found, Record) and not (found is WHITEOUT and through_whiteouts):
            raise NotADirectoryError
        return self._folder(parent, name)

    def _count(self, links: int, depth: int) -> None:
        self._steps += links > 0  # a link may lead through thousands of folders, and each path through it again
        if links > MOST_LINKS or self._steps > MOST_STEPS:
            raise Refused("leads through too many symbolic links")
        if depth > MOST_DEPTH:
            raise Refused(f"lies more than {MOST_DEPTH} folders deep")

    def _linked(self, link: bytes) -> Record:
        parent, _, name = inside(link).rpartition(b"/")
        try:
            found = self._find(parent, through_whiteouts=False, make=False).children.get(name)
        except (FileNotFoundError, NotADirectoryError):
            found = None
        if found is None or found is WHITEOUT:
            raise Refused(f"is a hard link to {quoted(link)}, which the archive has not brought before")
        if isinstance(found, Folder):
            raise Refused(f"is a hard link to {quoted(link)}, which is a folder")
        return found

    def _record(self, entry: Entry) -> Record:
        xattrs = {name: value for name, value in entry.xattrs.items() if is_kept(name)}
        seconds = entry.mtime_ns // _NANO
        if entry.kind == FOLDER:  # its time is that of what was made in it last
            return Record(kind=FOLDER, mode=entry.mode, uid=entry.uid, gid=entry.gid, xattrs=xattrs)
        if entry.kind == LINK:
            if not entry.link or b"\0" in entry.link:
                raise Refused(f"is a symbolic link to {quoted(entry.link)}")
            return Record(kind=LINK, uid=entry.uid, gid=entry.gid, seconds=seconds, link=entry.link)
        if entry.kind not in (*FILES, FIFO, *DEVICES):
            raise Refused(f"is of unknown type {entry.kind!r}")
        is_file = entry.kind in FILES
        return Record(
            kind=FILES[0] if is_file else entry.kind,
            mode=entry.mode,
            uid=entry.uid,
            gid=entry.gid,
            seconds=seconds,
            size=entry.real_size,
            device=entry.device if entry.kind in DEVICES else (0, 0),
            xattrs=xattrs,
            content=self._content(entry) if is_file else None,
        )

    def _content(self, entry: Entry) -> Content:
        content = Content(self._diff_id, self._number)
        if self._is_hashed(self._number):
            content.digest = self.digests[self._number] = self._digest(entry)
        return content

    def _digest(self, entry: Entry) -> str:
        hasher = hasher_for("sha256:")
        at = 0
        for offset, count in [(0, entry.size)] if entry.segments is None else [*entry.segments, (entry.real_size, 0)]:
            for zeros in range(offset - at, 0, -_BLOCK_BYTES):
                hasher.update(cast(bytes, _ZEROS[:zeros]))
            for piece in self._archive.pieces(count):
                hasher.update(cast(bytes, piece))
            at = offset + count
        return hasher.hexdigest()
