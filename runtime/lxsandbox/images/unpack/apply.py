"""Making the entries of an archive below the root of this process: nothing that it names lies outside.

Runs in a clone of the spawner that has made the target its root. What is in an entry's place is taken away first, and files are
made with O_EXCL and O_NOFOLLOW: nothing is ever written through what an archive has put there.
"""

import os
import stat
import sys
from collections.abc import Callable
from io import BufferedReader, FileIO

from lxsandbox.images.unpack import whiteouts
from lxsandbox.images.unpack.archive import Archive
from lxsandbox.images.unpack.attributes import Attributes
from lxsandbox.images.unpack.folders import Folders
from lxsandbox.images.unpack.headers import DEVICES, FIFO, FILES, FOLDER, HARD_LINK, LINK, Entry
from lxsandbox.images.unpack.names import inside
from lxsandbox.images.unpack.refusal import Refused, quoted
from lxsandbox.rootfs.removal import remove_tree

__all__ = ["FORMS", "unpack"]

FORMS = ("layer", "root")
_READ_BYTES = 1 << 20
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK_DEVICE = b"4"


def unpack(stream: int, target: str, *, form: str = "root") -> None:
    """Unpack the tar archive that the descriptor `stream` yields into the empty folder `target`, which becomes the root.

    In the form `layer` names that begin with `.wh.` hide what lower layers have, and become what overlayfs has for that; in the
    form `root` they are files. Entries for the root itself say nothing: it stays as it is.
    Raises Refused, OSError; what was unpacked by then is there.
    """
    if form not in FORMS:
        raise ValueError(f"no form {form!r}: {FORMS}")
    # A layer's digest says that nothing is missing; of a file of the user's nothing else does.
    archive = Archive(BufferedReader(FileIO(stream), _READ_BYTES), whole=form == "root")
    os.chroot(target)
    os.chdir("/")
    sys.meta_path.clear()  # what an import would find from here on is the archive's
    os.umask(0)
    _Applier(archive, layer=form == "layer").run()


class _Applier:
    def __init__(self, archive: Archive, *, layer: bool) -> None:
        self._archive = archive
        self._layer = layer
        self._attributes = Attributes()
        self._folders = Folders(self._attributes, layer=layer)
        self._makers: dict[bytes, Callable[[Entry, bytes], None]] = {
            HARD_LINK: self._hard_link,
            LINK: self._link,
            FIFO: self._fifo,
            **dict.fromkeys(FILES, self._file),
            **dict.fromkeys(DEVICES, self._device),
        }

    def run(self) -> None:
        while (entry := self._archive.next()) is not None:
            try:
                self._put(entry)
            except Refused as error:
                raise Refused(f"entry {quoted(entry.name)}: {error}") from None
            except OSError as error:
                raise Refused(f"entry {quoted(entry.name)}: {error.strerror}") from error
        self._folders.finish()

    def _put(self, entry: Entry) -> None:
        path = inside(entry.name)
        if self._layer and b"/.wh." in path and (mark := whiteouts.mark_of(path)):
            self._mark(mark, path)
            return
        parent, _, name = path.rpartition(b"/")
        if not name:
            if entry.kind != FOLDER:
                raise Refused("is the root, and no folder")
            return
        place = self._folders.find(parent) + b"/" + name
        if entry.kind == FOLDER:
            self._folder(entry, path, place)
            return
        make = self._makers.get(entry.kind)
        if make is None:
            raise Refused(f"is of unknown type {entry.kind!r}")
        make(entry, place)

    def _mark(self, mark: str, path: bytes) -> None:
        if mark == whiteouts.IGNORED:
            return
        parent, _, name = path.rpartition(b"/")
        try:
            folder = self._folders.find(parent, make=False)
        except FileNotFoundError:  # a lower layer has it
            folder = self._folders.find(parent)
        except NotADirectoryError:
            return  # what this layer has there hides all that lower ones have: umoci-repack(1) writes both
        if mark == whiteouts.OPAQUE:
            whiteouts.make_opaque(folder or b"/")
        else:
            whiteouts.put_whiteout(folder + b"/" + name)

    def _folder(self, entry: Entry, path: bytes, place: bytes) -> None:
        try:
            self._folders.make(place)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(place).st_mode):
                self._take_away(place)
                self._folders.make(place)
                if self._layer:  # what was there hid a lower layer's folder of that name, and so must this
                    whiteouts.make_opaque(place)
        self._folders.add(path, place, entry)

    def _file(self, entry: Entry, place: bytes) -> None:
        try:
            fd = os.open(place, _NEW_FILE, 0o600)
        except FileExistsError:
            self._take_away(place)
            fd = os.open(place, _NEW_FILE, 0o600)
        try:
            if entry.segments is None:
                self._archive.copy(fd, entry.size)
            else:
                for offset, count in entry.segments:
                    os.lseek(fd, offset, os.SEEK_SET)
                    self._archive.copy(fd, count)
                os.ftruncate(fd, entry.real_size)
            self._attributes.give_to_file(fd, entry)
        finally:
            os.close(fd)

    def _link(self, entry: Entry, place: bytes) -> None:
        if not entry.link or b"\0" in entry.link:
            raise Refused(f"is a symbolic link to {quoted(entry.link)}")
        self._make_room(place)
        os.symlink(entry.link, place)
        self._attributes.give_to_node(place, entry, link=True)

    def _hard_link(self, entry: Entry, place: bytes) -> None:
        try:
            target = self._existing(entry.link)
            found = os.lstat(target)
        except (FileNotFoundError, NotADirectoryError):
            raise Refused(f"is a hard link to {quoted(entry.link)}, which the archive has not brought before") from None
        except Refused as error:
            raise Refused(f"is a hard link to {quoted(entry.link)}, which {error}") from None
        if stat.S_ISDIR(found.st_mode):
            raise Refused(f"is a hard link to {quoted(entry.link)}, which is a folder")
        try:
            os.link(target, place, follow_symlinks=False)
        except FileExistsError:
            if os.path.samestat(os.lstat(place), found):
                return
            self._take_away(place)
            os.link(target, place, follow_symlinks=False)

    def _existing(self, name: bytes) -> bytes:
        parent, _, last = inside(name).rpartition(b"/")
        return self._folders.find(parent, make=False) + b"/" + last

    def _fifo(self, entry: Entry, place: bytes) -> None:
        self._make_room(place)
        os.mkfifo(place, 0o600)
        self._attributes.give_to_node(place, entry, link=False)

    def _device(self, entry: Entry, place: bytes) -> None:
        self._make_room(place)
        if entry.device == (0, 0):
            return  # no device has these numbers, and overlayfs would take it for a whiteout
        kind = stat.S_IFBLK if entry.kind == _BLOCK_DEVICE else stat.S_IFCHR
        try:
            os.mknod(place, kind | 0o600, os.makedev(*entry.device))
        except PermissionError:
            return  # a plain user may make none, and a sandbox has a /dev of its own
        self._attributes.give_to_node(place, entry, link=False)

    def _make_room(self, place: bytes) -> None:
        if os.path.lexists(place):
            self._take_away(place)

    def _take_away(self, place: bytes) -> None:
        """Remove what an earlier entry has made, with all that is in it: the last one counts."""
        found = os.lstat(place).st_mode
        if not stat.S_ISREG(found):
            self._folders.forget()
        if not stat.S_ISDIR(found):
            os.unlink(place)
            return
        folder, _, name = place.rpartition(b"/")
        fd = os.open(folder or b"/", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            remove_tree(fd, os.fsdecode(name))
        finally:
            os.close(fd)
