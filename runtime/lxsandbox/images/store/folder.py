"""The folder of the store: where it is, how large it may get, that it is safe to use, and how files in it are locked and written.

What the folders below it hold, and who owns their format:

| name | what is there | owner |
|---|---|---|
| `oci-layout`, `blobs/`, `index.json` | an OCI image layout (image-spec, image-layout.md) | here, `blobs`, `names` |
| `fetching/` | blobs on their way in | `blobs` |
| `layers/` | layers unpacked, ready to be mounted | `layers` |
| `leases/` | what live processes use | `leases` |
| `locks/` | empty files to flock(2); they stay, since whoever waits for one that is unlinked shares it with nobody | here |
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Generator

from filelock import FileLock, Timeout

from lxsandbox.defaults import CACHE_DIR, CACHE_SIZE, DEFAULT_CACHE_SIZE
from lxsandbox.errors import ImageError
from lxsandbox.units import UNLIMITED, parse_size

__all__ = [
    "cache_folder", "cache_size", "exclusive", "make_private", "open_layout", "remove_lock", "try_exclusive", "write_whole",
]  # fmt: skip

_FOLDERS = ("blobs", "fetching", "layers", "leases", "locks")
_LAYOUT_VERSION = "1.0.0"  # image-spec, image-layout.md, "oci-layout file"
_LOCK_SECONDS = 600.0
# The store's own lock is held for milliseconds; filelock's 50 ms between two tries would be most of the wait.
_POLL_SECONDS = 0.005


def cache_folder() -> str:
    """What the environment names, `$XDG_CACHE_HOME/lxsandbox` or `~/.cache/lxsandbox`, made with mode 700.

    Raises ImageError when it is not safe to use.
    """
    if chosen := os.environ.get(CACHE_DIR):
        path = os.path.expanduser(chosen)
        if not os.path.isabs(path):
            raise ImageError(f"{CACHE_DIR}={chosen} is below no known folder", hint="begin it with / or ~/")
        make_private(os.path.normpath(path))
        return os.path.normpath(path)
    base = os.environ.get("XDG_CACHE_HOME", "")
    # XDG Base Directory Specification: a relative path is to be ignored.
    path = os.path.join(base if os.path.isabs(base) else os.path.expanduser("~/.cache"), "lxsandbox")
    make_private(path)
    return path


def cache_size() -> int | None:
    """How many bytes the store may have when a run ends; None for any number. Raises SpecError for what is no size."""
    chosen = os.environ.get(CACHE_SIZE) or DEFAULT_CACHE_SIZE
    return None if chosen == UNLIMITED else parse_size(chosen, what=CACHE_SIZE)


def make_private(path: str) -> None:
    """Make the folder with mode 700, or see that it is this user's own. Raises ImageError."""
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        if not os.path.lexists(path):
            with contextlib.suppress(FileExistsError):  # made by another process just now
                os.mkdir(path, 0o700)
    except OSError as error:
        hint = "set XDG_CACHE_HOME, or sandbox_cache_dir, to a folder of yours"
        raise ImageError(f"cannot make {path} for images: {error.strerror or error}", hint=hint) from error
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        raise _unsafe(path, "it is a symbolic link", "name the folder that it leads to")
    if not stat.S_ISDIR(found.st_mode):
        raise _unsafe(path, "it is no folder", "remove it, or name another folder")
    if found.st_uid != os.geteuid():
        raise _unsafe(path, f"it belongs to user {found.st_uid}, and this is user {os.geteuid()}", "name a folder of yours")
    if found.st_mode & 0o022:
        raise _unsafe(path, "others can write to it", f"see that nobody has, then run: chmod 700 {path}")


def open_layout(folder: str) -> None:
    """Make `folder` a store, or see that it is one. Raises ImageError when it is unsafe, or a layout of another version."""
    make_private(folder)
    for name in _FOLDERS:
        path = os.path.join(folder, name)
        make_private(path)
        # Layers hold setuid programs of the user's own ids: nobody else may reach them, also when a copy lost the mode.
        if os.lstat(path).st_mode & 0o077:
            os.chmod(path, 0o700)
    layout = os.path.join(folder, "oci-layout")
    if not os.path.exists(layout):
        with exclusive(folder, "store"):
            write_whole(layout, json.dumps({"imageLayoutVersion": _LAYOUT_VERSION}).encode())
    _check_version(layout)


def _check_version(layout: str) -> None:
    with open(layout, "rb") as file:
        said = file.read(4096)
    try:
        version = json.loads(said)["imageLayoutVersion"]
    except (ValueError, KeyError, TypeError):
        hint = f"remove it: it is made anew, and nothing else depends on what it says ({_LAYOUT_VERSION})"
        raise ImageError(f"{layout} is damaged", hint=hint) from None
    if version != _LAYOUT_VERSION:
        raise ImageError(f"{layout} says version {version!r:.40}, and only {_LAYOUT_VERSION} is read", hint="name another folder")


def write_whole(path: str, data: bytes) -> None:
    """Replace the file, so that a reader, and whoever comes after a crash, sees the old content or the new one.

    One writer at a time: the caller holds the lock that the file is under. Raises OSError, and the old content stays.
    """
    with open(f"{path}.part", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{path}.part", path)
    parent = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


@contextlib.contextmanager
def exclusive(folder: str, name: str, *, at_most_seconds: float = _LOCK_SECONDS) -> Generator[None]:
    """Hold the lock `name` of the store in `folder`, alone of all processes and threads.

    Raises ImageError when another has had it for `at_most_seconds`, ten minutes.
    """
    path = _lock_path(folder, name)
    try:
        held = FileLock(path).acquire(timeout=at_most_seconds, poll_interval=_POLL_SECONDS)
    except Timeout:
        hint = f"`fuser {path}` names it: see whether it hangs, and end it; no more is lost than what it was doing"
        raise ImageError(f"another process has held {path} for {at_most_seconds:.0f} s", hint=hint) from None
    with held:
        yield


@contextlib.contextmanager
def try_exclusive(folder: str, name: str) -> Generator[bool]:
    """Hold the lock `name`, where nobody else does: whether it is held."""
    try:
        held = FileLock(_lock_path(folder, name)).acquire(timeout=0)
    except Timeout:
        yield False
        return
    with held:
        yield True


def remove_lock(folder: str, name: str) -> None:
    """Remove a lock that nobody but the caller ever asks for: of others, the file must stay."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_lock_path(folder, name))


def _lock_path(folder: str, name: str) -> str:
    return os.path.join(folder, "locks", f"{name}.lock")


def _unsafe(path: str, why: str, hint: str) -> ImageError:
    return ImageError(f"{path} is not safe to keep images in: {why}", hint=hint)
