"""The folders of a root in the making: where a path really leads, and what they get when nothing more is made in them."""

import errno
import os
import stat
from collections.abc import Callable

from lxsandbox.images.unpack.archive import MOST_ENTRIES
from lxsandbox.images.unpack.attributes import Attributes
from lxsandbox.images.unpack.headers import Entry
from lxsandbox.images.unpack.implied import mark, unmark
from lxsandbox.images.unpack.refusal import Refused, quoted
from lxsandbox.images.unpack.whiteouts import is_whiteout, make_opaque

__all__ = ["MOST_DEPTH", "MOST_LINKS", "MOST_STEPS", "Folders"]

MOST_DEPTH = 200  # of folders in folders: less than what can be removed again (rootfs.removal)
MOST_LINKS = 40  # followed for one path, as in the kernel (path_resolution(7))
MOST_STEPS = 20_000_000  # from folder to folder: a link may lead through thousands, and each path through it again
_MOST_KNOWN = 16_384
_MOST_HELD_BYTES = 256 << 20
_HELD_BYTES_EACH = 256  # about what Python takes for one
# Another entry has put something else in the place of a folder, or of one above it; also a link that leads to itself.
_REPLACED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folders:
    """Folders below "/", the root of what is unpacked. `layer`: what takes a whiteout's place hides what that did.

    A path may lead through symbolic links, those of the archive too, as it does for container tools: they are followed here,
    below this root, and what is made is made at a path that has none.
    """

    def __init__(self, attributes: Attributes, *, layer: bool) -> None:
        self._attributes = attributes
        self._layer = layer
        self._known: dict[bytes, bytes] = {b"": b""}
        self._unfinished: dict[int, tuple[bytes, int, int, dict[bytes, bytes]]] = {}  # by inode: a path may change its folder
        self._implied: set[int] = set()  # by inode, too
        self._held_bytes = 0
        self._made = self._steps = 0

    def find(self, path: bytes, *, make: bool = True) -> bytes:
        """Where the folder `path` (`/a/b`, or empty for the root) really is. Missing ones are made, unless `make` is False.

        Raises Refused where there is something else than a folder, and FileNotFoundError.
        """
        known = path
        while (place := self._known.get(known)) is None:
            known = known.rpartition(b"/")[0]
        if known == path:
            return place
        links = 0
        for part in path[len(known) + 1 :].split(b"/"):
            place, links = self._follow(place, part, links, self._enter if make else _look_into)
            known += b"/" + part
            self._know(known, place)
        return place

    def _follow(self, place: bytes, name: bytes, links: int, step: Callable[[bytes], None]) -> tuple[bytes, int]:
        """Where `name` in the folder `place` leads, and by how many links with the `links` that led there."""
        ahead = [name]
        while ahead:
            part = ahead.pop()
            self._steps += 1
            if self._steps > MOST_STEPS:
                raise Refused("leads through symbolic links, as others did, and all of them are too long a way")
            if part in (b"", b"."):
                continue
            if part == b"..":
                place = place.rpartition(b"/")[0]
                continue
            target = _target(place + b"/" + part)
            if target is None:
                place += b"/" + part
                step(place)
                continue
            links += 1
            if links > MOST_LINKS:
                raise Refused("leads through too many symbolic links")
            place = b"" if target.startswith(b"/") else place
            ahead += target.split(b"/")[::-1]
        return place, links

    def _enter(self, place: bytes) -> None:
        """Be sure that `place`, which is no link, is a folder."""
        try:
            self.make(place, 0o755)
            if self._layer:
                mark(place)
                self._implied.add(os.lstat(place).st_ino)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(place).st_mode):
                return
            if not (self._layer and is_whiteout(place)):
                raise Refused(f"lies below {quoted(place)}, which is no folder") from None
            os.unlink(place)
            self.make(place, 0o755)
            make_opaque(place)

    def make(self, place: bytes, mode: int = 0o700) -> None:
        """Make one folder at a place that has no links in it. Raises Refused, FileExistsError."""
        if place.count(b"/") > MOST_DEPTH:
            raise Refused(f"lies more than {MOST_DEPTH} folders deep")
        if self._made >= MOST_ENTRIES:
            raise Refused(f"with it there are more than {MOST_ENTRIES} folders")
        os.mkdir(place, mode)
        self._made += 1

    def add(self, path: bytes, place: bytes, entry: Entry) -> None:
        """Give the folder at `place` what the entry with this path says: some now, the rest when all is made. Raises Refused."""
        self._know(path, place)
        self._attributes.give_to_folder(place, entry)
        acls = self._attributes.acls(entry)
        self._held_bytes += _HELD_BYTES_EACH + len(place) + sum(map(len, acls.values()))
        if self._held_bytes > _MOST_HELD_BYTES:
            raise Refused("with it the archive has more folders than memory is taken for")
        inode = os.lstat(place).st_ino
        if inode in self._implied:
            unmark(place)
            self._implied.discard(inode)
        self._unfinished[inode] = (place, entry.mode, entry.mtime_ns, acls)

    def _know(self, path: bytes, place: bytes) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self.forget()
        self._known[path] = place

    def forget(self) -> None:
        """Something that was there has been taken away: paths may lead elsewhere now."""
        self._known = {b"": b""}

    def finish(self) -> None:
        """Nothing more is made: give all folders their modes and times. Raises Refused, OSError."""
        if self._implied:
            mark(b"/")
        for inode, (place, mode, mtime_ns, acls) in self._unfinished.items():
            try:
                fd = os.open(place, _OPEN)
            except OSError as error:
                if error.errno not in _REPLACED:
                    raise Refused(f"entry {quoted(place)}: {error.strerror}") from error
                continue
            try:
                if os.stat(fd).st_ino == inode:
                    self._attributes.finish_folder(fd, mode, mtime_ns, acls)
            except Refused as error:
                raise Refused(f"entry {quoted(place)}: {error}") from None
            except OSError as error:
                raise Refused(f"entry {quoted(place)}: {error.strerror}") from error
            finally:
                os.close(fd)


def _target(place: bytes) -> bytes | None:
    """What the symbolic link at `place` says; None where there is none."""
    try:
        return os.readlink(place)
    except OSError:
        return None  # EINVAL: something else; ENOENT: nothing


def _look_into(place: bytes) -> None:
    if not stat.S_ISDIR(os.lstat(place).st_mode):
        raise NotADirectoryError
