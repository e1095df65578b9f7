"""Paths in a sandbox, in the shape of pathlib.Path.

The init inside resolves every path below the sandbox's own root, links included; nothing here touches a path of the host.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from lxsandbox.errors import SpecError

if TYPE_CHECKING:
    from lxsandbox.sandbox.control import Control

__all__ = ["SandboxPath", "checked_path"]

_OPEN_FLAGS = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
}


class SandboxPath:
    """One absolute path in one sandbox. Raises what pathlib raises (FileNotFoundError and its kin), and SandboxDied.

    It is no os.PathLike: open(path) would open that path of the host.
    """

    def __init__(self, control: Control, path: str | PurePosixPath | SandboxPath) -> None:
        self._control = control
        self._path = checked_path(path)

    def __truediv__(self, other: str | PurePosixPath) -> SandboxPath:
        return self.joinpath(other)

    def joinpath(self, *others: str | PurePosixPath) -> SandboxPath:
        return SandboxPath(self._control, self._path.joinpath(*others))

    def with_name(self, name: str) -> SandboxPath:
        return SandboxPath(self._control, self._path.with_name(name))

    @property
    def parent(self) -> SandboxPath:
        return SandboxPath(self._control, self._path.parent)

    @property
    def name(self) -> str:
        return self._path.name

    @property
    def stem(self) -> str:
        return self._path.stem

    @property
    def suffix(self) -> str:
        return self._path.suffix

    @property
    def parts(self) -> tuple[str, ...]:
        return self._path.parts

    def __str__(self) -> str:
        return str(self._path)

    def __repr__(self) -> str:
        return f"SandboxPath({str(self._path)!r} in {self._control.name})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SandboxPath):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def open(self, mode: str = "r", *, encoding: str | None = None, errors: str | None = None) -> IO[Any]:
        """Open the file, or make it, as the built-in open does; text is UTF-8. A device, fifo or socket is refused (EINVAL)."""
        kind, plus = mode.replace("b", "").replace("t", ""), "+" in mode
        flags = _OPEN_FLAGS.get(kind.replace("+", ""))
        if flags is None:
            raise ValueError(f"invalid mode: {mode!r}")
        if plus:
            flags = flags & ~os.O_WRONLY | os.O_RDWR
        fd = self._control.request_fd("open", path=str(self), flags=flags, mode=0o666)
        try:
            return open(fd, mode, encoding=encoding or (None if "b" in mode else "utf-8"), errors=errors)
        except BaseException:
            with suppress(OSError):
                os.close(fd)
            raise

    def read_bytes(self) -> bytes:
        with self.open("rb") as file:
            data: bytes = file.read()
        return data

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        with self.open("r", encoding=encoding, errors=errors) as file:
            text: str = file.read()
        return text

    def write_bytes(self, data: bytes | bytearray | memoryview) -> int:
        """Replace the content, making the file where there is none; the folder must be there."""
        with self.open("wb") as file:
            return file.write(data)

    def write_text(self, data: str, encoding: str | None = None, errors: str | None = None) -> int:
        """The same for text."""
        with self.open("w", encoding=encoding, errors=errors) as file:
            return file.write(data)

    def touch(self, mode: int = 0o666, *, exist_ok: bool = True) -> None:
        """Make the file, or set its time of modification to now."""
        flags = os.O_WRONLY | os.O_CREAT | (0 if exist_ok else os.O_EXCL)
        fd = self._control.request_fd("open", path=str(self), flags=flags, mode=mode)
        try:
            os.utime(fd)
        except PermissionError:  # rootless: the file may be another user's as seen from here
            self._control.request("utime", path=str(self), mtime_ns=None)
        finally:
            os.close(fd)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """As os.stat. Owners are the sandbox's own numbers; the times of access and change are not told, and show as mtime."""
        return _stat_result(self._control.request("stat", path=str(self), follow=follow_symlinks))

    def lstat(self) -> os.stat_result:
        return self.stat(follow_symlinks=False)

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        return self._mode(follow=follow_symlinks) is not None

    def is_dir(self) -> bool:
        return modes.S_ISDIR(self._mode() or 0)

    def is_file(self) -> bool:
        return modes.S_ISREG(self._mode() or 0)

    def is_symlink(self) -> bool:
        return modes.S_ISLNK(self._mode(follow=False) or 0)

    def iterdir(self) -> Iterator[SandboxPath]:
        """What the folder holds, in no particular order."""
        names = self._control.request("list", path=str(self))["names"]
        return (self / name for name, _ in names)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        self._control.request("mkdir", path=str(self), mode=mode, parents=parents, exist_ok=exist_ok)

    def unlink(self, missing_ok: bool = False) -> None:
        with suppress(*([FileNotFoundError] if missing_ok else [])):
            self._control.request("unlink", path=str(self))

    def rmdir(self) -> None:
        self._control.request("rmdir", path=str(self))

    def readlink(self) -> PurePosixPath:
        """What the link says; it may be relative, and need not exist."""
        return PurePosixPath(self._control.request("readlink", path=str(self))["target"])

    def symlink_to(self, target: str | PurePosixPath | SandboxPath) -> None:
        self._control.request("symlink", path=str(self), target=str(target))

    def chmod(self, mode: int) -> None:
        self._control.request("chmod", path=str(self), mode=mode)

    def rename(self, target: str | PurePosixPath | SandboxPath) -> SandboxPath:
        """Move it to `target`, over what is there; returns the new path."""
        moved = SandboxPath(self._control, target)
        self._control.request("rename", path=str(self), target=str(moved))
        return moved

    def _mode(self, *, follow: bool = True) -> int | None:
        try:
            return self.stat(follow_symlinks=follow).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _identity(self) -> tuple[str, PurePosixPath]:
        return self._control.sandbox_id, self._path


def checked_path(path: object) -> PurePosixPath:
    """An absolute path, whole. Raises SpecError for any other."""
    text = str(path) if isinstance(path, PurePosixPath | SandboxPath) else path
    if not isinstance(text, str) or not text.startswith("/") or "\0" in text:
        raise SpecError(f"{path!r} is not an absolute path in the sandbox", hint='write it from the root, such as "/etc/hosts"')
    return PurePosixPath(text)


def _stat_result(data: dict[str, Any]) -> os.stat_result:
    """See os.stat_result: the ten fields of POSIX, then those by name."""
    seconds = data["mtime_ns"] // 10**9
    ten = [data["mode"], data["ino"], data["dev"], data["nlink"], data["uid"], data["gid"], data["size"], *[seconds] * 3]
    exact = {f"st_{which}time_ns": data["mtime_ns"] for which in "amc"}
    return os.stat_result(ten, exact | {f"st_{which}time": data["mtime_ns"] / 10**9 for which in "amc"})
