"""What a build needs of whoever carries out its steps: files to read, and a sandbox to change.

The service has the real ones; the rules of building know no more of them than this.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from lxsandbox.images.archives.layers import Layer
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import Descriptor

__all__ = ["Base", "Command", "Files", "Status", "Workshop", "Workshops"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """What a workshop stands over: an image in the store by its manifest, `host`, or, as both are absent, nothing at all."""

    image: Descriptor | None = None
    host: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What stat(2) says of a file; its `mode` has the kind too."""

    mode: int
    size: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @classmethod
    def of(cls, found: os.stat_result) -> Status:
        return cls(mode=found.st_mode, size=found.st_size, uid=found.st_uid, gid=found.st_gid, mtime_ns=found.st_mtime_ns)


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What a RUN step starts, and from where; or, with no `args`, the text of a program."""

    args: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    user: str
    script: str = ""


class Files(Protocol):
    """A tree to read from. Paths are absolute in it, and no link leads out of it. All methods raise OSError."""

    def look(self, path: str, *, follow: bool = False) -> Status | None:
        """What is at the path, or, with `follow`, where the link there leads; None for nothing."""
        ...

    def names(self, path: str) -> list[str]:
        """What is in a folder, in any order."""
        ...

    def link(self, path: str) -> str:
        """Where a symbolic link leads."""
        ...

    def open(self, path: str) -> int:
        """A descriptor to read a regular file by; the caller's."""
        ...


class Workshop(Files, Protocol):
    """A sandbox over an image, in which one step is carried out."""

    def run(self, command: Command, output: Callable[[bytes], None]) -> int:
        """Run to the end, and return the exit code as subprocess has it; `output` is called with what it prints.

        Raises SandboxError when it cannot be started.
        """
        ...

    def account(self, text: str) -> tuple[int, int]:
        """The uid and gid of `user`, `uid`, `user:group`, …, by the image's own files. Raises SandboxError."""
        ...

    def make_folder(self, path: str, mode: int) -> None:
        """One folder, in one that is there."""
        ...

    def make_file(self, path: str, mode: int) -> int:
        """A descriptor to write a new file by; the caller's. Raises FileExistsError where something is."""
        ...

    def make_link(self, path: str, target: str) -> None:
        """A symbolic link."""
        ...

    def make_name(self, path: str, existing: str) -> None:
        """Another name (a hard link) for a file."""
        ...

    def remove(self, path: str) -> None:
        """A file or link, not a folder."""
        ...

    def settle(self, path: str, owner: tuple[int, int], mode: int | None = None, mtime_ns: int | None = None) -> None:
        """Give it to somebody (of a link, the link itself), then set its mode and time where they are given."""
        ...

    def layer(self) -> Layer | None:
        """What has changed since the start, in the store as a layer; None where nothing has."""
        ...


class Workshops(Protocol):
    """Makes workshops. The way in is a context, whose end leaves nothing of it."""

    def open(self, base: Base, blobs: Blobs, *, network: bool) -> AbstractContextManager[Workshop]:
        """A workshop over `base`, whose layer goes to `blobs`; a `network` is a way out of the host. Raises SandboxError."""
        ...
