"""The folder of one run: where it is, that it is safe to use, and whether anybody still uses it.

Every process of a run holds a shared flock(2) on the folder's `lock` file for as long as it lives; the kernel lets go of it
however that process ends. So a run is dead exactly when the lock can be taken exclusively, and then anyone may remove it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager

from lxsandbox.errors import SandboxError, SpecError
from lxsandbox.rootfs.removal import remove_tree

__all__ = [
    "base_folder",
    "dead_runs",
    "hold",
    "let_go",
    "live_runs",
    "make_run_folder",
    "remove_run_folder",
    "socket_path",
    "usable",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_held: dict[str, int] = {}


def base_folder() -> str:
    """The folder of this user's run folders, made if it is missing.

    `$LXSANDBOX_RUNTIME_DIR`, `$XDG_RUNTIME_DIR/lxsandbox`, `/run/lxsandbox` (root), or `/tmp/lxsandbox-UID`. Raises SandboxError
    when it is a link, belongs to somebody else, or can be written by others.
    """
    given = os.environ.get("LXSANDBOX_RUNTIME_DIR")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if given:
        path = os.path.abspath(given)
    elif runtime and os.access(runtime, os.W_OK | os.X_OK):
        path = f"{runtime}/lxsandbox"
    elif os.geteuid() == 0 and os.access("/run", os.W_OK):
        path = "/run/lxsandbox"
    else:
        path = f"/tmp/lxsandbox-{os.geteuid()}"
    _make_private(path)
    return path


def _make_private(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise SandboxError(
            f"cannot make {path}: {error.strerror}", hint="set LXSANDBOX_RUNTIME_DIR to a folder of yours"
        ) from error
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise SandboxError(
            f"{path} is not safe: it must be a folder (no link) of user {os.geteuid()} with mode 700",
            hint=f"remove it, after a look at what put it there: ls -ld {path}",
        )


def make_run_folder(name: str | None = None) -> str:
    """The path of the run folder `name` (a fresh name by default), made if it is missing, held by this process from now on.

    Raises SpecError for a name that is no plain file name, SandboxError for a folder that is not safe.
    """
    base = base_folder()
    while True:
        folder = f"{base}/{_checked(name or f'run-{secrets.token_hex(6)}')}"
        _make_private(folder)
        try:
            with usable(folder):
                if hold(folder):
                    return folder
        except SandboxError:
            _remove_empty(folder)
            raise


@contextmanager
def usable(folder: str) -> Generator[None]:
    """Raises SandboxError, with what to do, when a file in the run folder cannot be made."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        elsewhere = "set LXSANDBOX_RUNTIME_DIR to a folder of yours with a short path"  # unix(7): 107 bytes for a socket
        raise SandboxError(
            f"the run folder {folder} cannot be used: {error.strerror or error}",
            hint=f"make room there, or {elsewhere} on another file system" if full else elsewhere,
        ) from error


def _remove_empty(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        return  # another process of the run was luckier


def _checked(name: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SpecError(f"run name {name!r} is not usable", hint="letters, digits, '.', '_' and '-', 64 at most")
    return name


def hold(folder: str) -> bool:
    """Hold the run for as long as this process lives, or until `let_go`; False when it is being removed just now."""
    if folder in _held:
        return os.path.exists(f"{folder}/lock")
    try:
        fd = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return False
    fcntl.flock(fd, fcntl.LOCK_SH)
    if not _is_file_at(fd, f"{folder}/lock"):
        os.close(fd)  # who removed the run held the lock until the file was gone
        return False
    _held[folder] = fd
    return True


def _is_file_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def let_go(folder: str) -> None:
    """No longer hold the run. Once nobody does, it may be removed."""
    fd = _held.pop(folder, None)
    if fd is not None:
        os.close(fd)


def live_runs() -> list[str]:
    """The folders of the runs that some process still holds."""
    return [folder for folder in _run_folders() if not _is_dead(folder)]


def dead_runs() -> list[str]:
    """The folders of the runs that nobody holds any more."""
    return [folder for folder in _run_folders() if _is_dead(folder)]


def _run_folders() -> list[str]:
    base = base_folder()
    with os.scandir(base) as entries:
        return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False) and _NAME.fullmatch(entry.name))


def _is_dead(folder: str) -> bool:
    if folder in _held:
        return False
    lock = _lock_exclusively(folder)
    if lock is None:
        return False
    os.close(lock)
    return True


def _lock_exclusively(folder: str) -> int | None:
    """A descriptor with the exclusive lock of a run that nobody holds; None when somebody does."""
    try:
        fd = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN):
            raise
        return None
    return fd


def remove_run_folder(folder: str) -> bool:
    """Remove the folder of a dead run, the lock file last; False when somebody holds it.

    Raises OSError when something in it cannot be removed (files that a plain user's sandbox wrote with other ids).
    """
    lock = _lock_exclusively(folder)
    if lock is None:
        return False
    try:
        parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _empty(parent)
        finally:
            os.close(parent)
        os.unlink(f"{folder}/lock")
        os.rmdir(folder)
    finally:
        os.close(lock)
    return True


def _empty(parent: int) -> None:
    with os.scandir(parent) as entries:
        listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if entry.name != "lock"]
    for name, is_folder in listed:
        if is_folder:
            remove_tree(parent, name)
        else:
            os.unlink(name, dir_fd=parent)


def socket_path(folder: str) -> str:
    """The unix socket that the service of the run listens on."""
    return f"{folder}/socket"
