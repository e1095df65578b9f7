"""The folder that a build copies from, without what its `.dockerignore` leaves out: other files are not there at all."""

from __future__ import annotations

import contextlib
import os
import stat
from types import TracebackType
from typing import Self

from e2b_dockerfile_utils import PatternMatcher

from lxsandbox.errors import ImageError
from lxsandbox.images.building.workshop import Status
from lxsandbox.syscalls.files import find, openat2

__all__ = ["Context"]

_IGNORE = ".dockerignore"
_LARGEST_IGNORE_BYTES = 1 << 20


class Context:
    """The files below `folder`; see `workshop.Files`. Links in it are followed as if it were the root of everything.

    To be used in a `with`. All belong to root, whoever they belong to here.
    """

    def __init__(self, folder: str) -> None:
        """Raises ImageError for a folder that cannot be read, or patterns that make no sense."""
        try:
            self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ImageError(
                f"{folder} cannot be built from: {error.strerror}", hint="name a folder with a Containerfile"
            ) from error
        try:
            self._ignored = self._patterns(folder)
        except BaseException:
            os.close(self._root)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._root)

    def _patterns(self, folder: str) -> PatternMatcher:
        try:
            with open(os.path.join(folder, _IGNORE), "rb") as file:
                lines = file.read(_LARGEST_IGNORE_BYTES).decode("utf-8-sig", "surrogateescape").splitlines()
        except FileNotFoundError:
            lines = []
        except OSError as error:
            raise ImageError(f"{folder}/{_IGNORE} cannot be read: {error.strerror}") from error
        try:
            return PatternMatcher(lines)
        except ValueError as error:
            raise ImageError(f"{folder}/{_IGNORE}: {error}") from None

    def _is_left_out(self, path: str) -> bool:
        inner = path.strip("/")
        return bool(inner) and self._ignored.matches(inner)

    def look(self, path: str, *, follow: bool = False) -> Status | None:
        try:
            fd = find(self._root, path) if follow else self._find_itself(path)
        except NotADirectoryError:
            return None
        if fd is None:
            return None
        try:
            found = os.fstat(fd)
            names = {path, self._real(fd)} if self._ignored.patterns else ()
        finally:
            os.close(fd)
        for name in names:
            if self._is_left_out(name) and not (stat.S_ISDIR(found.st_mode) and self._ignored.may_match_under(name.strip("/"))):
                return None
        return Status(mode=found.st_mode, size=found.st_size, mtime_ns=found.st_mtime_ns)

    def _real(self, fd: int) -> str:
        """Where links on the way have led."""
        return "/" + os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), os.readlink(f"/proc/self/fd/{self._root}"))

    def _find_itself(self, path: str) -> int | None:
        parent, _, name = path.rstrip("/").rpartition("/")
        if not name:
            return os.dup(self._root)
        folder = find(self._root, parent or "/")
        if folder is None:
            return None
        try:
            return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return None
        finally:
            os.close(folder)

    def names(self, path: str) -> list[str]:
        fd = openat2(self._root, path, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.ExitStack() as closing:
            closing.callback(os.close, fd)
            found = os.listdir(fd)
        if not self._ignored.patterns:
            return found
        return [name for name in found if self.look(f"{path.rstrip('/')}/{name}") is not None]

    def link(self, path: str) -> str:
        parent, _, name = path.rpartition("/")
        folder = openat2(self._root, parent or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            return os.readlink(name, dir_fd=folder)
        finally:
            os.close(folder)

    def open(self, path: str) -> int:
        return openat2(self._root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
