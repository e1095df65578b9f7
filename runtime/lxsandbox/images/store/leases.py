"""Leases: what live processes use of the store, so that nobody removes it under them.

A lease is a file in `leases/` that its holder keeps locked by flock(2) and that lists what it holds, one JSON list a line:
descriptors as objects, digests and layer keys as text. However the holder ends, the kernel lets go of the lock, and then the
lease is void.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Self, cast

from lxsandbox.errors import ImageError
from lxsandbox.images.documents import Descriptor

__all__ = ["Held", "Lease", "Leases"]

Held = Descriptor | str
"""What can be held: an image by its descriptor, with all that it is made of; a blob by its digest; a layer by its key."""

_Lock = Callable[[], AbstractContextManager[None]]
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class Lease:
    """What its holder uses, until `close`, the end of a `with`, or the end of the process that took it.

    A child that was forked from the holder and outlives it without an exec keeps the lease until it ends too.
    """

    def __init__(self, path: str, fd: int, lock: _Lock) -> None:
        self._path = path
        self._fd = fd
        self._lock = lock
        self._holder = os.getpid()

    def add(self, held: Iterable[Held]) -> None:
        """Hold more. Raises OSError (a full disk), and then holds what it held."""
        line = json.dumps([each if isinstance(each, str) else each.as_json() for each in held]) + "\n"
        with self._lock():
            before = os.fstat(self._fd).st_size
            try:
                _write_all(self._fd, line.encode())
            except OSError:
                os.ftruncate(self._fd, before)
                raise

    def close(self) -> None:
        """Hold nothing any more. May be called again."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if os.getpid() == self._holder:  # a child has a descriptor of the same lock, and no right to end it
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Leases:
    """All leases on a store. `lock` is the one under which it is decided what goes: none is taken meanwhile."""

    def __init__(self, folder: str, lock: _Lock) -> None:
        self._folder = os.path.join(folder, "leases")
        self._lock = lock

    def take(self, held: Iterable[Held]) -> Lease:
        """A new lease. Raises OSError."""
        path = os.path.join(self._folder, f"{os.getpid()}-{secrets.token_hex(6)}")  # the pid is for who looks into the folder
        with self._lock():
            fd = os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lease = Lease(path, fd, self._lock)
        try:
            lease.add(held)
        except BaseException:
            lease.close()
            raise
        return lease

    def live(self) -> list[Held]:
        """What is held by all leases, for who has the lock; void ones are removed. Raises ImageError for one of unknown form."""
        paths = (os.path.join(self._folder, name) for name in sorted(os.listdir(self._folder)))
        return [held for path in paths for held in _held_by(path)]


def _held_by(path: str) -> Iterator[Held]:
    try:
        fd = os.open(path, _OPEN)
    except FileNotFoundError:
        return  # closed just now
    with open(fd, "rb") as file:
        if _lock_is_free(fd):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        try:
            for line in file:
                for each in cast("list[object]", json.loads(line)):
                    yield each if isinstance(each, str) else Descriptor.from_json(each, what=path)
        except (ValueError, TypeError, ImageError) as error:
            hint = "end the process that its name begins with; it may be of another version of lxsandbox"
            raise ImageError(f"the lease {path} cannot be read, and so nothing can be removed: {error}", hint=hint) from None


def _lock_is_free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
            raise
        return False
    return True


def _write_all(fd: int, data: bytes) -> None:
    os.lseek(fd, 0, os.SEEK_END)
    while data:
        data = data[os.write(fd, data) :]
