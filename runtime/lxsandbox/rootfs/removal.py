"""Removing a tree that something hostile has written to: by descriptor, never through a link, to a bounded depth."""

import errno
import os

__all__ = ["remove_tree"]

_MAX_DEPTH = 256  # of folders in folders; each level holds one descriptor


def remove_tree(parent: int, name: str, *, depth: int = _MAX_DEPTH) -> None:
    """Remove the folder `name` in the folder `parent` (a descriptor) and all in it. Raises OSError."""
    if depth == 0:
        raise OSError(errno.ELOOP, "folders are nested too deeply")
    fd = _open_folder(parent, name)
    try:
        with os.scandir(fd) as entries:
            listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for child, is_folder in listed:
            if is_folder:
                remove_tree(fd, child, depth=depth - 1)
            else:
                os.unlink(child, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)


def _open_folder(parent: int, name: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=parent)
    except PermissionError:
        # overlayfs leaves a folder of mode 000 in its workdir. By descriptor: fchmodat that refuses links came with 6.6.
        place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{place}", 0o700)
            return os.open(name, flags, dir_fd=parent)
        finally:
            os.close(place)
