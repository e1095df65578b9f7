"""Opening and making the places inside a root that mounts and files go to, never outside it."""

import errno
import os

from lxsandbox.syscalls.files import find, openat2

TYPE_CHECKING = False  # the spawner loads this module
if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["make_target", "open_folder", "parent_and_name", "replace_file"]


def parent_and_name(path: str) -> tuple[str, str]:
    """`/a/b/c` as (`/a/b`, `c`)."""
    parent, _, name = path.rstrip("/").rpartition("/")
    return parent or "/", name


def open_folder(root: int, path: str, *, links: bool = False) -> int:
    """A descriptor of the folder `path` below `root`. Raises OSError, ELOOP or ENOTDIR for a link where none is allowed."""
    return openat2(root, path, os.O_PATH | os.O_DIRECTORY, links=links)


def make_target(root: int, path: str, *, folder: bool, links: bool = True) -> int:
    """An O_PATH descriptor of the folder or file `path` below `root`, made (with its parents) where it is missing.

    With `links=False` a symbolic link anywhere in `path` raises OSError(ELOOP). Raises OSError(EISDIR or ENOTDIR) where the
    other kind is there already.
    """
    fd = find(root, path, links=links)
    if fd is None:
        parent, name = parent_and_name(path)
        above = make_target(root, parent, folder=True, links=links)
        try:
            _make(above, name, folder=folder)
        finally:
            os.close(above)
        fd = openat2(root, path, os.O_PATH, links=links)
    is_folder = (os.fstat(fd).st_mode & 0o170000) == 0o040000
    if is_folder != folder:
        os.close(fd)
        number = errno.EISDIR if is_folder else errno.ENOTDIR
        raise OSError(number, f"{path} of the image is {'a folder' if is_folder else 'no folder'}")
    return fd


def _make(parent: int, name: str, *, folder: bool) -> None:
    try:
        if folder:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=parent))
    except FileExistsError:
        # A dangling link: it exists, and what it names does not. Nothing may be made through it.
        raise OSError(errno.ELOOP, f"{name} of the image is a link to nothing") from None


def replace_file(root: int, path: str, mode: int, *, links: bool = True) -> "BinaryIO":
    """A new file at `path` below `root`, open for writing; what was there (also a link) is removed, not written to.

    Removed, because a plain user's overlay cannot copy up a file whose owner is not mapped. Parents are made.
    """
    parent, name = parent_and_name(path)
    folder = make_target(root, parent, folder=True, links=links)
    try:
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            pass
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)
        os.fchmod(fd, mode)
        return open(fd, "wb")
    finally:
        os.close(folder)
