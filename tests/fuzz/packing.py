"""Trees that are packed as a layer and unpacked again: what comes out is what went in."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from fuzz.child import unpacked
from fuzz.mutation import chance, some_of
from fuzz.unpacking import Place, remove
from images.trees import archive
from images.unpack.unpacking import Looked, look

from lxsandbox.images.unpack import Refused

__all__ = ["Packing"]

_NAMES = (
    "a",
    "b",
    "c",
    "d",
    "n" * 99,
    "n" * 100,
    "n" * 101,
    "m" * 255,
    "é" * 60,
    "\udcff\udcfe",
    "a b",
    "a\nb",
    "-",
    "\\",
    "~",
    "x=y",
    "%25",
)
_TIMES = (0, 1, 1_600_000_000 * 10**9, 1_600_000_000_123_456_789, 8**11 * 10**9, -(10**9), -1, 10**9 - 1, 1_000_000_010)
_CONTENTS = (b"", b"x", b"y" * 511, b"y" * 512, b"y" * 513, b"z" * 70_000)
_XATTRS = ("user.a", "user.b=c", "user.%3D", "user.é", "user." + "x" * 200)
_VALUES = (b"", b"\0", b"a=b\n", b"\xff" * 300)
_TARGETS = ("a", "/", "..", "x" * 100, "x" * 101, "/dev/null", "\udcff", "y/" * 2000, "a\nb", "é")


@dataclass(frozen=True, kw_only=True)
class Made:
    """One file of a tree, by its parent's number and its own name."""

    parent: int
    name: str
    kind: str
    mode: int
    ids: tuple[int, int]
    time: int
    content: bytes
    target: str
    device: tuple[int, int]
    xattrs: tuple[tuple[str, bytes], ...]


class Packing:
    """Trees with everything that a layer can hold."""

    name = "pack"

    def __init__(self, folder: Path) -> None:
        self._place = Place(folder / self.name)
        self._trees = folder / "trees"
        self._trees.mkdir()

    def make(self, random: Random) -> list[Made]:
        return [_made(random, number) for number in range(random.choice((0, 1, 3, 8, 20, 40)))]

    def attempt(self, made: list[Made]) -> bool:
        with self._trees_of(made) as (tree, lower):
            try:
                packed = archive(tree, lower)
            except ValueError as error:
                raise Refused(str(error)) from None
            assert packed == archive(tree, lower), "another archive of the same tree"
            before = _shown(tree)
            self._place.begin()
            try:
                said = unpacked(packed, self._place.root, form="layer", single=False)
                assert not said.refusal + said.failure, said
                self._place.check("layer")
                assert _shown(self._place.root) == before, _difference(before, _shown(self._place.root))
            finally:
                self._place.end()
        return True

    @contextmanager
    def _trees_of(self, made: list[Made]) -> Iterator[tuple[Path, Path]]:
        """The tree, and one below it that has what it hides."""
        tree, lower = self._trees / "tree", self._trees / "lower"
        tree.mkdir()
        lower.mkdir()
        try:
            _make_all(tree, lower, made)
            yield tree, lower
        finally:
            remove(self._trees, "tree")
            remove(self._trees, "lower")


def _made(random: Random, number: int) -> Made:
    return Made(
        parent=random.randrange(-1, number) if number else -1,
        name=random.choice(_NAMES),
        kind=random.choice(
            ("folder", "folder", "file", "file", "file", "holes", "link", "hard", "fifo", "whiteout", "opaque", "null")
        ),
        mode=random.choice((0o644, 0o755, 0, 0o7777, 0o400, 0o1777, 0o4755)),
        ids=(random.choice((0, 0, 1000, 65_534, 2_097_152, 4_294_967_294)), random.choice((0, 5, 2_097_151))),
        time=random.choice(_TIMES),
        content=random.choice(_CONTENTS),
        target=random.choice(_TARGETS),
        device=(random.choice((1, 8, 259, 4095)), random.choice((0, 3, 255, 256, 1_048_575))),
        xattrs=tuple((name, random.choice(_VALUES)) for name in some_of(random, _XATTRS, 2) if chance(random, 0.4)),
    )


def _make_all(tree: Path, lower: Path, made: list[Made]) -> None:
    paths: list[Path] = []
    for each in made:
        parent = paths[each.parent] if each.parent >= 0 else tree
        path = (parent if stat.S_ISDIR(parent.lstat().st_mode) else tree) / each.name
        if each.kind in ("whiteout", "opaque") and _hides_all(tree, path):
            each = replace(each, kind="file")
        if len(os.fsencode(path)) > 3000 or os.path.lexists(path):
            path = tree
        else:
            _make(path, each, paths)
            if each.kind in ("whiteout", "opaque"):
                _put_below(lower / path.relative_to(tree), each.kind)
        paths.append(path)
    given: set[int] = set()
    for each, path in sorted(zip(made, paths, strict=True), key=lambda pair: -len(pair[1].parts)):
        # One file with several names gets its attributes once; what is in a folder comes before it.
        if path != tree and path.lstat().st_ino not in given:
            given.add(path.lstat().st_ino)
            _give(path, each)


def _hides_all(tree: Path, path: Path) -> bool:
    """Whether a folder above `path` hides all that is below it: a mark in there hides nothing more."""
    above = [tree / each for each in path.relative_to(tree).parents]
    return any("user.overlay.opaque" in os.listxattr(folder) for folder in above)


def _put_below(path: Path, kind: str) -> None:
    """Something that is hidden: a mark that hides nothing is no change."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "opaque":
        path.mkdir()
        path /= "hidden"
    path.touch()


def _make(path: Path, each: Made, paths: list[Path]) -> None:
    match each.kind:
        case "folder":
            path.mkdir()
        case "opaque":
            path.mkdir()
            os.setxattr(path, "user.overlay.opaque", b"y")
        case "holes":
            with path.open("wb") as file:
                file.seek(100_000)
                file.write(each.content)
                file.truncate(300_000)
        case "link":
            path.symlink_to(each.target)
        case "hard" if files := [found for found in paths if stat.S_ISREG(found.lstat().st_mode)]:
            os.link(files[each.time % len(files)], path)
        case "fifo":
            os.mkfifo(path)
        case "whiteout":
            os.mknod(path, stat.S_IFCHR, 0)
        case "null" if _may_make_devices():
            os.mknod(path, stat.S_IFCHR, os.makedev(*each.device))
        case _:
            path.write_bytes(each.content)


def _give(path: Path, each: Made) -> None:
    now = path.lstat()
    if stat.S_ISCHR(now.st_mode) and not now.st_rdev:
        return  # a whiteout has nothing of its own
    if _may_make_devices():
        os.chown(path, *each.ids, follow_symlinks=False)
    if not stat.S_ISLNK(now.st_mode):
        path.chmod(each.mode)
        if stat.S_ISREG(now.st_mode) or stat.S_ISDIR(now.st_mode):
            for name, value in each.xattrs:
                os.setxattr(path, name, value)
    os.utime(path, ns=(0, each.time), follow_symlinks=False)


@functools.cache
def _may_make_devices() -> bool:
    """Whether this is the machine's root, and not that of a user namespace with one id."""
    with open("/proc/self/uid_map") as file:
        return file.read().split() == ["0", "0", "4294967295"]


def _shown(tree: Path) -> Looked:
    """All of the tree; of a whiteout, that it is one."""
    return {name: found if found[0] != stat.S_IFCHR else found[:1] for name, found in look(tree).items()}


def _difference(before: Looked, after: Looked) -> str:
    names = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    return "\n".join(f"{name!r:.100}: {before.get(name)!r:.300} is now {after.get(name)!r:.300}" for name in sorted(names)[:4])
