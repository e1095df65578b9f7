"""What has been written to a root: a walk over an upper layer, beside the layers that it lies on.

Runs in a clone of the spawner, over what something hostile has written: each name is looked up below a descriptor and never
followed, and a walk holds one descriptor for each layer, however deep it goes. What is done with what is found is decided by
`pack`. The formats of a layer are those of Documentation/filesystems/overlayfs.rst, with `userxattr`.
"""

import errno
import os
import stat

TYPE_CHECKING = False  # loaded by a clone of the spawner
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Made = tuple[str, int, str]  # (kind, mode, text), see rootfs.uppers

__all__ = ["Found", "Upper", "attributes", "walk"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: what was a file when it was looked at may be a fifo by now.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OPAQUE, _WHITEOUT = "user.overlay.opaque", "user.overlay.whiteout"
_FOREIGN = ("user.overlay.", "trusted.")  # the kernel's own notes, and those of a host's root
_DEFAULT_MODE, _ROOT = 0o755, (0, 0)


class Upper:
    """An upper layer: descriptors of its folder and of the folders below it (uppermost first), and what the runtime made there.

    With none below it is no layer of an overlay but a folder that was written to as it is. The descriptors stay the caller's.
    """

    def __init__(self, target: str, fd: int, lowers: "Sequence[int]", made: "dict[str, Made]") -> None:
        self.target = target
        self.fd = fd
        self.lowers = lowers
        self.made = made


class Found:
    """Something in an upper layer, good until the walk goes on.

    `kind` is `added`, `changed`, `removed`, or `same` for a folder that is there for what is in it. `path` is relative, `""` the
    top. `fd` is the folder itself, else the one that `name` lies in. `existed`: whether the layers below have something there.
    `opaque`: a folder that hides theirs. `implied`: a removal that a folder above it tells, or that the runtime undoes.
    """

    __slots__ = ("existed", "fd", "implied", "kind", "name", "opaque", "path", "status")

    def __init__(
        self, kind: str, path: str, name: str, fd: int, status: "os.stat_result | None" = None, *, existed: bool = True,
        opaque: bool = False, implied: bool = False,
    ) -> None:  # fmt: skip
        self.kind = kind
        self.path = path
        self.name = name
        self.fd = fd
        self.status = status
        self.existed = existed
        self.opaque = opaque
        self.implied = implied

    def open(self) -> int:
        """A descriptor of the regular file, the caller's. Raises OSError, FileNotFoundError where it is none any more."""
        fd = _open_file(self.fd, self.name)
        if fd is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        return fd


def attributes(fd: int) -> dict[str, bytes]:
    """The extended attributes that belong to the file, and not to the kernel or the host, in a steady order."""
    found: dict[str, bytes] = {}
    try:
        names = sorted(os.listxattr(fd))
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return found
    for name in names:
        if not name.startswith(_FOREIGN) and name != "security.selinux":
            try:
                found[name] = os.getxattr(fd, name)
            except OSError as error:
                if error.errno != errno.ENODATA:  # taken away meanwhile
                    raise
    return found


def walk(upper: Upper) -> "Iterator[Found]":
    """Everything in `upper` that is not as the runtime made it, folders before what is in them. Raises OSError.

    What goes away during the walk is left out.
    """
    walking = _Walk(upper)
    try:
        yield from walking.run()
    finally:
        walking.close()


class _Place:
    """A folder of a tree, moved by one name at a time."""

    def __init__(self, top: int) -> None:
        self.fd = os.open(".", _FOLDER, dir_fd=top)
        self._above: list[tuple[int, int]] = []

    @property
    def depth(self) -> int:
        return len(self._above)

    def down(self, name: str) -> None:
        """Into the folder `name`. Raises OSError; then it is where it was."""
        below = os.open(name, _FOLDER, dir_fd=self.fd)
        self._above.append(_identity(self.fd))
        os.close(self.fd)
        self.fd = below

    def up(self) -> None:
        """Back to where it came from. Raises OSError(ESTALE) where that is not above any more."""
        above = os.open("..", _FOLDER, dir_fd=self.fd)
        os.close(self.fd)
        self.fd = above
        if _identity(above) != self._above.pop():
            raise OSError(errno.ESTALE, "a folder was moved while what is in it was looked at")

    def close(self) -> None:
        os.close(self.fd)


class _Level:
    """A folder on the way: the names in it that are still to come (last first), and those among them that are gone.

    `fresh`: it, or one above it, hides what the layers below have.
    """

    __slots__ = ("fresh", "gone", "length", "names")

    def __init__(self, length: int, names: list[str], gone: set[str], *, fresh: bool) -> None:
        self.length = length  # of the path that leads into it
        self.names = names
        self.gone = gone
        self.fresh = fresh


class _Walk:
    """One walk. Its path is one text, since those of all folders of a deep tree would take the square of its depth."""

    def __init__(self, upper: Upper) -> None:
        self.made = upper.made
        # Else whiteouts and marks in it are the sandbox's own files, and hide nothing.
        self.stacked = bool(upper.lowers)
        self.children: dict[str, set[str]] = {}
        for path, (kind, _, _) in upper.made.items():
            folder, _, name = path.rpartition("/")
            if kind in ("file", "link", "copy", "empty"):
                self.children.setdefault(folder, set()).add(name)
        self.upper = _Place(upper.fd)
        self.lowers: list[_Place] = []
        self.lowers += map(_Place, upper.lowers)
        self.levels: list[_Level] = []
        self.path = ""

    def close(self) -> None:
        for place in (self.upper, *self.lowers):
            place.close()

    def run(self) -> "Iterator[Found]":
        below = os.fstat(self.lowers[0].fd) if self.lowers else None
        yield self._folder("", "", ("folder", -1, ""), below, existed=True, fresh=False)
        while self.levels:
            level = self.levels[-1]
            self.path = self.path[: level.length]
            if not level.names:
                self._leave()
                continue
            try:
                found = self._look(level, level.names.pop())
            except (FileNotFoundError, NotADirectoryError):
                continue  # gone, or something else, since its folder was listed
            if found is not None:
                yield found

    def _leave(self) -> None:
        depth = self.upper.depth
        self.levels.pop()
        if self.levels:
            for place in (self.upper, *self.lowers):
                if place.depth == depth:
                    place.up()

    def _look(self, level: _Level, name: str) -> Found | None:
        path = self.path + name
        made = self.made.get(path)
        existed, below = self._below(name, made)
        if name in level.gone:
            # Of a folder that is no layer of an overlay, nothing else tells.
            return Found("removed", path, name, self.upper.fd, implied=self.stacked) if existed else None
        if made is not None and made[0] == "mount":
            return None
        status = os.stat(name, dir_fd=self.upper.fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            return self._enter(path, name, made, below, existed=existed, fresh=level.fresh)
        if self.stacked and _is_whiteout(self.upper.fd, name, status):
            return Found("removed", path, name, self.upper.fd) if existed else None
        if made is not None and _is_as_made(made, self.upper.fd, name, status):
            return None
        return Found("changed" if existed else "added", path, name, self.upper.fd, status, existed=existed)

    def _active(self) -> list[_Place]:
        """The places in the layers below that show in this folder."""
        return [lower for lower in self.lowers if lower.depth == self.upper.depth]

    def _below(self, name: str, made: "Made | None") -> "tuple[bool, os.stat_result | None]":
        """Whether something is here without what was written, and what the image's layers have."""
        if made is not None and made[0] not in ("folder", "mount"):
            return made[0] != "absent", None
        for lower in self._active():
            status = _status(lower.fd, name)
            if status is not None:
                shown = None if _is_whiteout(lower.fd, name, status) else status
                return shown is not None or made is not None, shown
        return made is not None, None

    def _enter(
        self, path: str, name: str, made: "Made | None", below: "os.stat_result | None", *, existed: bool, fresh: bool
    ) -> Found:
        merged = self._active() if below is not None and stat.S_ISDIR(below.st_mode) else []
        self.upper.down(name)
        for lower in merged:
            status = _status(lower.fd, name)
            if status is None:
                continue
            if not stat.S_ISDIR(status.st_mode):
                break
            try:
                lower.down(name)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                break  # gone meanwhile, or closed to whoever is inside too
            if _is_opaque(lower.fd):
                break
        self.path = path + "/"
        return self._folder(path, name, made, below, existed=existed, fresh=fresh)

    def _folder(
        self, path: str, name: str, made: "Made | None", below: "os.stat_result | None", *, existed: bool, fresh: bool
    ) -> Found:
        """The folder that the walk has just gone into."""
        merged = self._active()
        opaque = self.stacked and _is_opaque(self.upper.fd)
        self.levels.append(self._level(path, merged, fresh=fresh or opaque))
        if not existed:
            kind = "added"
        else:
            inherited = attributes(merged[0].fd) if merged else {}
            kind = "same" if _is_same_folder(self.upper.fd, made, below, inherited, opaque=opaque) else "changed"
        status = os.fstat(self.upper.fd)
        return Found(kind, path, name, self.upper.fd, status, existed=existed, opaque=opaque and bool(merged))

    def _level(self, path: str, merged: list[_Place], *, fresh: bool) -> _Level:
        listed = _listed(self.upper.fd)
        expected = self.children.get(path, set())
        if fresh:
            expected = expected.union(*(os.listdir(lower.fd) for lower in merged))
        gone = expected - listed.keys()
        ranks = {**listed, **dict.fromkeys(gone, 0)}
        names = sorted(ranks, key=lambda name: (ranks[name], name), reverse=True)
        return _Level(len(self.path), names, gone, fresh=fresh)


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _status(folder: int, name: str) -> "os.stat_result | None":
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, PermissionError):
        return None


def _listed(folder: int) -> dict[str, int]:
    """The names in a folder, each with a rank: 0 for what may be a whiteout, since the image format wants these first."""
    with os.scandir(folder) as entries:
        return {
            entry.name: 1
            if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False) or entry.is_symlink()
            else 0
            for entry in entries
        }


def _is_opaque(folder: int) -> bool:
    return _attribute(f"/proc/self/fd/{folder}", _OPAQUE, follow=True) == b"y"


def _is_whiteout(folder: int, name: str, status: os.stat_result) -> bool:
    if stat.S_ISCHR(status.st_mode):
        return status.st_rdev == 0
    if not stat.S_ISREG(status.st_mode) or status.st_size:
        return False
    return _attribute(f"/proc/self/fd/{folder}/{name}", _WHITEOUT, follow=False) is not None


def _attribute(path: str, name: str, *, follow: bool) -> bytes | None:
    """An extended attribute of what `path`, of /proc/self/fd, stands for: no call takes a folder and a name."""
    try:
        return os.getxattr(path, name, follow_symlinks=follow)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.ENOENT, errno.EACCES):
            return None
        raise


def _open_file(folder: int, name: str) -> int | None:
    """The regular file `name`; None where it is something else."""
    try:
        fd = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # by now a link, or a socket or device
            return None
        raise
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def _is_as_made(made: "Made", folder: int, name: str, status: os.stat_result) -> bool:
    """Whether a link or file still is what the runtime made, as far as can be seen: of a copy, by its size and time."""
    kind, mode, text = made
    if kind == "link":
        return stat.S_ISLNK(status.st_mode) and os.readlink(name, dir_fd=folder) == text
    if kind == "copy":
        stamp = f"{status.st_size} {status.st_mtime_ns}"
        return stat.S_ISREG(status.st_mode) and (stat.S_IMODE(status.st_mode), stamp) == (mode, text)
    content = text.encode("utf-8", "surrogatepass")
    if kind != "file" or not stat.S_ISREG(status.st_mode) or status.st_size != len(content):
        return False
    if (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) != (mode, 0, 0):
        return False
    fd = _open_file(folder, name)
    if fd is None:
        return False
    with open(fd, "rb") as file:
        return not attributes(fd) and file.read(len(content) + 1) == content


def _is_same_folder(
    fd: int, made: "Made | None", below: "os.stat_result | None", inherited: dict[str, bytes], *, opaque: bool
) -> bool:
    """Whether a folder of the upper layer is as the one below, or as the runtime made it: it is there for what is in it."""
    mode, owner = _mode_and_owner(os.fstat(fd))
    own = attributes(fd)
    under = _mode_and_owner(below) if below is not None and stat.S_ISDIR(below.st_mode) else None
    if made is None:
        return under == (mode, owner) and own == inherited
    kind, wanted, _ = made
    if kind == "empty":
        return opaque and (mode, owner) == (wanted, _ROOT) and not own
    if wanted < 0:
        wanted = under[0] if under is not None else _DEFAULT_MODE
    owners = (_ROOT,) if under is None else (_ROOT, under[1])
    return kind == "folder" and mode == wanted and owner in owners and own in ({}, inherited)


def _mode_and_owner(status: os.stat_result) -> tuple[int, tuple[int, int]]:
    return stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
