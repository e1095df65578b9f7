"""Folders that a layer has only because something lies in them, and what lower layers give them.

The archive of a layer may hold `a/b/file` and say nothing about `a` and `a/b`: umoci-insert(1) writes such. Unpacked by itself it
has them all the same, with a mark, and overlayfs would show their owner and mode in place of those that a lower layer has. So the
images that it is in get one more layer, on top of the others: it has these folders alone, as the lower layers have them.
"""

import errno
import os
import stat
from collections.abc import Sequence

__all__ = ["has_implied", "inherit", "mark", "unmark"]

# Names that begin with `user.overlay.` are private to overlayfs where it is mounted with `userxattr`: it shows and copies none.
_MARK = "user.overlay.lxsandbox.implied"
_OPAQUE = "user.overlay.opaque"
_NONE_HERE = (errno.ENODATA, errno.EOPNOTSUPP)
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_Places = dict[str, int]
"""Folders by their paths below the root, each with the root of the layer whose attributes it has; outer ones come first."""


def mark(folder: str | bytes) -> None:
    """Nothing was said about the folder; on the root of a layer: that it has such folders. Raises OSError."""
    try:
        os.setxattr(folder, _MARK, b"y")
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:  # a tmpfs before Linux 6.6 has no such attributes, and its folders stay as they are
            raise


def unmark(folder: str | bytes) -> None:
    """Something was said about the folder after all. Raises OSError."""
    try:
        os.removexattr(folder, _MARK)
    except OSError as error:
        if error.errno not in _NONE_HERE:
            raise


def has_implied(layer: str) -> bool:
    """Whether there are such folders in the layer. Raises OSError."""
    return _get(layer, _MARK) == b"y"


def inherit(layers: Sequence[str], target: str) -> None:
    """Make, in the empty folder `target`, the implied folders that show in `layers` (uppermost first) and that lower ones have.

    Each with the attributes that the nearest lower layer gives it, and within those that it lies in. Raises OSError.
    """
    roots = [os.open(layer, _OPEN) for layer in layers]
    made = os.open(target, _OPEN)
    try:
        places = _Walk({root for root in roots if _get(root, _MARK) == b"y"}).places(roots)
        for place in places:
            os.mkdir(place, 0o700, dir_fd=made)
        for place, root in reversed(places.items()):
            _copy_attributes(place, root, made)
    finally:
        for fd in (*roots, made):
            os.close(fd)


class _Walk:
    """Through all layers at the same time, and only where one that has implied folders lies over others."""

    def __init__(self, marked: set[int]) -> None:
        self._marked = marked
        self._places: _Places = {}

    def places(self, roots: Sequence[int]) -> _Places:
        self._look_into("", roots, {})
        return self._places

    def _look_into(self, path: str, roots: Sequence[int], outer: _Places) -> None:
        """`roots` are of the layers whose folder `path` shows, uppermost first."""
        names = {name for root in roots[:-1] if root in self._marked for name in _folders_in(path, root)}
        for name in sorted(names):
            place = f"{path}/{name}".lstrip("/")
            shown, giver = _showing(place, roots)
            if not shown:
                continue
            here = {**outer, place: giver}
            if giver != shown[0]:
                self._places.update(here)
            self._look_into(place, shown, here)


def _folders_in(path: str, root: int) -> list[str]:
    fd = os.open(path or ".", _OPEN, dir_fd=root)
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    finally:
        os.close(fd)


def _showing(place: str, roots: Sequence[int]) -> tuple[list[int], int]:
    """The layers whose folder `place` shows, and the one that says what it is like; -1 where none shows."""
    shown: list[int] = []
    giver, hidden = -1, False
    for root in roots:
        try:
            if not stat.S_ISDIR(os.stat(place, dir_fd=root, follow_symlinks=False).st_mode):
                break  # a whiteout, or what is no folder
        except FileNotFoundError:
            continue
        implied, opaque = _marks(place, root)
        if not hidden:
            shown.append(root)
        if giver == -1 and not implied:
            giver = root
        # An opaque mark hides what lies in the folder, and says nothing about the folder itself (image-spec, layer.md).
        hidden = hidden or opaque
        if hidden and giver != -1:
            break
    return shown, giver if giver != -1 or not shown else shown[0]


def _marks(place: str, root: int) -> tuple[bool, bool]:
    """Whether the folder is implied, and whether it is opaque."""
    fd = os.open(place, _OPEN, dir_fd=root)
    try:
        return _get(fd, _MARK) == b"y", _get(fd, _OPAQUE) == b"y"
    finally:
        os.close(fd)


def _copy_attributes(place: str, source_root: int, target_root: int) -> None:
    source = os.open(place, _OPEN, dir_fd=source_root)
    target = os.open(place, _OPEN, dir_fd=target_root)
    try:
        found = os.stat(source)
        os.chown(target, found.st_uid, found.st_gid)
        os.chmod(target, stat.S_IMODE(found.st_mode))
        for name in os.listxattr(source):
            if not name.startswith(("user.overlay.", "security.", "trusted.")):  # of overlayfs, and of the host
                os.setxattr(target, name, os.getxattr(source, name))
        os.utime(target, ns=(found.st_mtime_ns, found.st_mtime_ns))
    finally:
        os.close(source)
        os.close(target)


def _get(target: int | str, name: str) -> bytes | None:
    try:
        return os.getxattr(target, name)
    except OSError as error:
        if error.errno not in _NONE_HERE:
            raise
        return None
