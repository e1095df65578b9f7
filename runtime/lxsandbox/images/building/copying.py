"""COPY and ADD: which files are meant, what they amount to as a key, and how they get to where they shall be.

Source: Docker's Dockerfile reference, "COPY", and where it is silent BuildKit.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import posixpath
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lxsandbox.images.building.syntax import Where
from lxsandbox.images.building.workshop import Files, Status, Workshop

__all__ = ["Copy", "carry_out", "content_key", "find_sources", "make_parents"]

_BLOCK_BYTES = 1 << 20
_MAGIC = re.compile(r"[*?\[]")
_FOLDER_MODE = 0o755
_FILE_MODE = 0o644
_MOST_DEPTH = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """What one COPY or ADD means: `sources` (patterns) or `texts` (file names and contents) to the absolute path `target`.

    A `target` with a slash at its end is a folder. `owner` is text as `USER` has it; without it, files stay whose they are.
    """

    sources: tuple[str, ...]
    target: str
    texts: Mapping[str, str] = field(default_factory=dict[str, str])
    owner: str = ""
    mode: int | None = None
    unpacks: bool = False


def find_sources(files: Files, patterns: Sequence[str], where: Where) -> list[str]:
    """The paths that the patterns mean, in their order. Raises ImageError for one that means none."""
    return [path for pattern in patterns for path in _found(files, pattern, where)]


def _found(files: Files, pattern: str, where: Where) -> list[str]:
    # A path leads nowhere above its root, as in `COPY ../x`: Docker takes it for `x`.
    path = posixpath.normpath("/" + pattern)
    if not _MAGIC.search(pattern):
        found = [path] if _checked_look(files, path, where) is not None else []
    else:
        found = sorted(_matches(files, "/", path.strip("/").split("/")))
    if not found:
        hint = "see that it exists below the folder that is built from, and that .dockerignore does not leave it out"
        where.refuse(f"there is no {pattern!r:.200} to copy", hint=hint)
    return found


def _checked_look(files: Files, path: str, where: Where) -> Status | None:
    try:
        return files.look(path, follow=True)
    except OSError as error:
        where.refuse(f"{path} cannot be read: {error.strerror}")


def _matches(files: Files, folder: str, parts: Sequence[str]) -> Iterator[str]:
    first, *rest = parts
    # filepath.Match of Go, which BuildKit uses: `[^a]` where fnmatch has `[!a]`.
    matches = re.compile(fnmatch.translate(first.replace("[^", "[!")))
    for name in files.names(folder):
        path = posixpath.join(folder, name)
        if not matches.match(name):
            continue
        if not rest:
            yield path
        elif (found := files.look(path, follow=True)) is not None and found.is_folder:
            yield from _matches(files, path, rest)


def content_key(files: Files, sources: Sequence[str], where: Where) -> str:
    """A digest of all that the sources hold: names, kinds, modes, contents, where links lead; not their times.

    Raises ImageError for what cannot be copied.
    """
    hasher = hashlib.sha256()
    for source in sources:
        for path, found in _walked(files, source, where, follow=True):
            inner = posixpath.basename(source) if path == source and not found.is_folder else posixpath.relpath(path, source)
            more = files.link(path) if found.is_link else _file_digest(files, path, where) if found.is_file else ""
            record = [inner, found.mode, found.uid, found.gid, more]
            hasher.update(json.dumps(record).encode("utf-8", "surrogateescape") + b"\n")
    return hasher.hexdigest()


def _walked(files: Files, path: str, where: Where, *, follow: bool, depth: int = 0) -> Iterator[tuple[str, Status]]:
    """The path, and all below it, folders first. Raises ImageError."""
    try:
        found = files.look(path, follow=follow)
        if found is None:
            return  # gone since it was listed
        if depth > _MOST_DEPTH:
            where.refuse(f"{path:.200} lies more than {_MOST_DEPTH} folders deep")
        if stat.S_ISSOCK(found.mode):
            return
        if not (found.is_folder or found.is_file or found.is_link):
            where.refuse(
                f"{path:.200} is neither a file, a folder nor a link", hint="name it in .dockerignore, or make it by RUN"
            )
        yield path, found
        if found.is_folder:
            for name in sorted(files.names(path)):
                yield from _walked(files, posixpath.join(path, name), where, follow=False, depth=depth + 1)
    except OSError as error:
        where.refuse(f"{path:.200} cannot be read: {error.strerror}")


def _file_digest(files: Files, path: str, where: Where) -> str:
    try:
        with open(files.open(path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        where.refuse(f"{path:.200} cannot be read: {error.strerror}")


def carry_out(copy: Copy, files: Files, sources: Sequence[str], shop: Workshop, where: Where) -> None:
    """Put everything where it belongs. Raises ImageError, SandboxError."""
    owner = shop.account(copy.owner) if copy.owner else None
    placing = _Placing(files, shop, copy, owner, where)
    try:
        placing.place(sources)
    except OSError as error:
        where.refuse(f"{placing.at:.200}: {error.strerror or error}")


class _Placing:
    def __init__(self, files: Files, shop: Workshop, copy: Copy, owner: tuple[int, int] | None, where: Where) -> None:
        self._files = files
        self._shop = shop
        self._copy = copy
        self._owner = owner
        self._where = where
        self.at = copy.target

    def place(self, sources: Sequence[str]) -> None:
        target = posixpath.normpath(self._copy.target)
        found = self._shop.look(target, follow=True)
        into = self._copy.target.endswith("/") or (found is not None and found.is_folder) or len(sources) > 1
        for name, text in self._copy.texts.items():
            self._text(text, posixpath.join(target, name) if into else target)
        for source in sources:
            status = self._files.look(source, follow=True)
            if status is not None and status.is_folder:
                self._folder(source, target)
            elif status is not None and not (self._copy.unpacks and self._unpacked(source, target)):
                goal = posixpath.join(target, posixpath.basename(source)) if into else target
                make_parents(self._shop, goal, self._owner)
                self._file(source, status, goal)

    def _unpacked(self, source: str, target: str) -> bool:
        from lxsandbox.images.building.unpacking import unpack

        make_parents(self._shop, target + "/", self._owner)
        return unpack(self._files.open(source), source, target, self._shop, self._owner, self._where)

    def _text(self, text: str, target: str) -> None:
        make_parents(self._shop, target, self._owner)
        self._write_file(target, _FILE_MODE, [text.encode("utf-8", "surrogateescape")], self._owner or (0, 0), None)

    def _file(self, source: str, status: Status, target: str) -> None:
        with open(self._files.open(source), "rb") as file:
            blocks = iter(lambda: file.read(_BLOCK_BYTES), b"")
            self._write_file(target, stat.S_IMODE(status.mode), blocks, self._owner or (status.uid, status.gid), status.mtime_ns)

    def _write_file(
        self, target: str, mode: int, blocks: Iterator[bytes] | list[bytes], owner: tuple[int, int], mtime_ns: int | None
    ) -> None:
        self.at = target
        try:
            fd = self._shop.make_file(target, 0o600)
        except FileExistsError:
            self._make_room(target)
            fd = self._shop.make_file(target, 0o600)
        with open(fd, "wb") as out:
            out.writelines(blocks)
        self._shop.settle(target, owner, self._copy.mode if self._copy.mode is not None else mode, mtime_ns)

    def _make_room(self, target: str) -> None:
        """What is not a folder gives way to what is copied."""
        found = self._shop.look(target)
        if found is not None and found.is_folder:
            self._where.refuse(
                f"{target} is a folder in the image, and a file is copied there", hint=f"write {target}/ for into it"
            )
        if found is not None:
            self._shop.remove(target)

    def _folder(self, source: str, target: str) -> None:
        """What is in a folder goes into the target, which becomes one."""
        made: list[tuple[str, Status]] = []
        make_parents(self._shop, target, self._owner)
        for path, status in _walked(self._files, source, self._where, follow=True):
            goal = target if path == source else posixpath.join(target, posixpath.relpath(path, source))
            self.at = goal
            if status.is_folder:
                if self._made_folder(goal):
                    made.append((goal, status))
            elif status.is_link:
                self._make_room(goal)
                self._shop.make_link(goal, self._files.link(path))
                self._shop.settle(goal, self._owner or (status.uid, status.gid))
            else:
                self._file(path, status, goal)
        # Last, and innermost first: filling a folder changes its time, and one without write permission cannot be filled.
        for goal, status in reversed(made):
            mode = self._copy.mode if self._copy.mode is not None else stat.S_IMODE(status.mode)
            self._shop.settle(goal, self._owner or (status.uid, status.gid), mode, status.mtime_ns)

    def _made_folder(self, goal: str) -> bool:
        found = self._shop.look(goal, follow=True)
        if found is not None and found.is_folder:
            return False
        if found is not None or self._shop.look(goal) is not None:
            self._where.refuse(f"{goal} is no folder in the image, and one is copied there", hint="remove it by RUN before")
        self._shop.make_folder(goal, 0o700)
        return True


def make_parents(shop: Workshop, path: str, owner: tuple[int, int] | None) -> None:
    """Make the folders above `path` that are not there, for `owner`. Raises OSError."""
    parts = path.split("/")[1:-1]
    for depth in range(1, len(parts) + 1):
        folder = "/" + "/".join(parts[:depth])
        if shop.look(folder, follow=True) is None:
            with contextlib.suppress(FileExistsError):
                shop.make_folder(folder, _FOLDER_MODE)
            shop.settle(folder, owner or (0, 0), _FOLDER_MODE)
