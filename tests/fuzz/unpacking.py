"""Archives that are really unpacked, beside a folder that must stay as it was, by a child as the spawner's clone does it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from random import Random

from fuzz.child import Said, unpacked
from fuzz.tars import OUTSIDE_BYTES, tar
from security.conftest import Outside

from lxsandbox.images.unpack import FORMS, Refused
from lxsandbox.rootfs.removal import remove_tree

__all__ = ["Place", "Unpacking", "remove"]

_MOST_DEPTH = 200
_MOST_BYTES = 256 << 20  # on disk: the archives are of some hundred KiB
_KEPT = ("user.", "security.capability", "system.posix_acl_")
_MARKS = {"root": set[str](), "layer": {f"user.overlay.{name}" for name in ("opaque", "whiteout", "lxsandbox.implied")}}


class Place:
    """A folder with a root to unpack into, beside one that nothing may change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.outside = Outside(folder / "outside")
        self.root = folder / "root"

    def begin(self) -> None:
        """An empty root."""
        self.root.mkdir(0o755)

    def check(self, form: str) -> None:
        """Nothing outside has changed, and nothing in the root has an effect out of it. Raises AssertionError."""
        self.outside.check()
        assert sorted(os.listdir(self.folder)) == ["outside", "root"]
        assert stat.S_IMODE(self.root.lstat().st_mode) == 0o755
        size = 0
        for path, now in _walked(self.root):
            size += now.st_blocks * 512
            _check(path, now, form)
        assert size <= _MOST_BYTES, f"it takes {size} bytes"

    def end(self) -> None:
        """Remove the root. Raises OSError where that cannot be done."""
        remove(self.folder, "root")


def remove(folder: Path, name: str) -> None:
    """Remove a tree as the store does. Raises OSError."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_tree(fd, name)
    finally:
        os.close(fd)


class Unpacking:
    """What becomes of whole archives."""

    name = "tar"

    def __init__(self, folder: Path) -> None:
        self._place = Place(folder / self.name)
        self._outside = str(self._place.outside.folder).encode().rjust(OUTSIDE_BYTES, b"/")

    def make(self, random: Random) -> tuple[bytes, str, bool]:
        """An archive, the form in which it is unpacked, and whether by a user namespace with a single id."""
        return tar(random, self._outside), random.choice(FORMS), random.random() < 0.6

    def attempt(self, made: tuple[bytes, str, bool]) -> bool:
        data, form, single = made
        self._place.begin()
        try:
            said = unpacked(data, self._place.root, form=form, single=single)
            self._place.check(form)
        finally:
            self._place.end()
        return _judged(said)


def _judged(said: Said) -> bool:
    assert said.failure == "", said.failure
    if said.refusal:
        raise Refused(said.refusal)
    return True


def _walked(root: Path) -> list[tuple[str, os.stat_result]]:
    found: list[tuple[str, os.stat_result]] = []
    waiting = [str(root)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                found.append((entry.path, entry.stat(follow_symlinks=False)))
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    assert entry.path.count("/") - str(root).count("/") <= _MOST_DEPTH, "deeper than can be removed"
    return found


def _check(path: str, now: os.stat_result, form: str) -> None:
    assert not stat.S_ISSOCK(now.st_mode)
    if stat.S_ISCHR(now.st_mode) and now.st_rdev == 0:
        assert form == "layer", "a whiteout in a root"
    if stat.S_ISLNK(now.st_mode):
        return
    for name in os.listxattr(path, follow_symlinks=False):
        assert name.startswith(_KEPT), f"it has {name}"
        assert not name.startswith("user.overlay.") or name in _MARKS[form], f"it has {name}"
