"""The unpacked contents of tar files in the user's cache: made once under a lock, moved into place whole, never changed after."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Generator

from filelock import FileLock

from lxsandbox.images.store.folder import cache_folder

__all__ = ["root_of_tar"]

_LOCK_SECONDS = 600.0


def root_of_tar(path: str, unpack: Callable[[str, str], None], remove: Callable[[str], None]) -> str:
    """The folder with the unpacked contents of tar file `path`; `unpack(path, folder)` fills a new one.

    A file that was changed (another size, time or inode) is unpacked anew. What `unpack` raises leaves nothing behind.
    """
    found = os.stat(path)
    identity = f"{os.path.realpath(path)}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ino}"
    key = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    roots = os.path.join(cache_folder(), "roots")
    os.makedirs(roots, 0o700, exist_ok=True)
    place = os.path.join(roots, key)
    if os.path.isdir(place):
        return place
    with FileLock(f"{place}.lock", timeout=_LOCK_SECONDS):
        if not os.path.isdir(place):
            with _removed_on_failure(f"{place}.{secrets.token_hex(4)}.part", remove) as part:
                os.mkdir(part, 0o755)
                unpack(path, part)
                os.rename(part, place)
    return place


@contextlib.contextmanager
def _removed_on_failure(path: str, remove: Callable[[str], None]) -> Generator[str]:
    try:
        yield path
    except BaseException:
        if os.path.isdir(path):
            remove(path)
        raise
