"""Files and folders of a sandbox to the host. The sandbox is hostile: its names, kinds, sizes and links are data, never orders.

Everything is written relative to a descriptor of the target, made anew, and without following anything.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from lxsandbox.errors import SandboxError
from lxsandbox.sandbox.bulk import copy_content
from lxsandbox.sandbox.path import SandboxPath, checked_path

if TYPE_CHECKING:
    from lxsandbox.sandbox.control import Control

__all__ = ["copy_out"]

_READ = os.O_RDONLY | os.O_NOFOLLOW
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 200
_PERMISSIONS = 0o777  # set-user-id, set-group-id and sticky bits of a sandbox mean nothing good outside


def copy_out(control: Control, source: object, target: str | os.PathLike[str]) -> None:
    """Copy `source` of the sandbox to `target`, or into it where it is a folder, as `cp -r` and shutil.copy do.

    Permission bits (not set-user-id and its kin) and times of modification are kept; the caller owns the copies. Files of
    the same name are replaced. A link inside a folder is copied as a link: where it points is for the sandbox to say, so
    look before you follow. Raises OSError, and SandboxError for a fifo, socket, device or a name that is none.
    """
    origin = SandboxPath(control, checked_path(source))
    path = os.path.abspath(target)
    into = os.path.isdir(path)
    parent = os.open(path if into else os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if into and not origin.name:
            _fill_folder(control, origin, parent, depth=0)
        else:
            name = _checked_name(origin.name if into else os.path.basename(path), origin)
            _copy_named(control, origin, parent, name)
    finally:
        os.close(parent)


def _copy_named(control: Control, origin: SandboxPath, parent: int, name: str) -> None:
    """What `source` itself names: here, and only here, a link is followed (inside the sandbox)."""
    status = origin.stat()
    if stat.S_ISDIR(status.st_mode):
        _copy_folder(control, origin, status, parent, name, depth=0)
    elif stat.S_ISREG(status.st_mode):
        _copy_file(control, origin, parent, name, flags=os.O_RDONLY)
    else:
        raise _refused(origin)


def _copy_entry(control: Control, origin: SandboxPath, kind: str, parent: int, *, depth: int) -> None:
    name = origin.name
    if kind == "dir":
        _copy_folder(control, origin, origin.lstat(), parent, name, depth=depth)
    elif kind == "link":
        link = str(origin.readlink())
        _remove(name, parent)
        os.symlink(link, name, dir_fd=parent)
    elif kind == "file":
        _copy_file(control, origin, parent, name, flags=_READ)
    else:
        raise _refused(origin)


def _copy_file(control: Control, origin: SandboxPath, parent: int, name: str, *, flags: int) -> None:
    source = control.request_fd("open", path=str(origin), flags=flags, mode=0)
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            raise _refused(origin)
        _remove(name, parent)
        target = os.open(name, _CREATE, 0o600, dir_fd=parent)
        try:
            copy_content(source, target, status.st_size)
            os.fchmod(target, status.st_mode & _PERMISSIONS)
            os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_folder(control: Control, origin: SandboxPath, status: os.stat_result, parent: int, name: str, *, depth: int) -> None:
    if depth >= _MAX_DEPTH:
        raise SandboxError(f"{origin} lies more than {_MAX_DEPTH} folders deep")
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    folder = os.open(name, _FOLDER, dir_fd=parent)
    try:
        _fill_folder(control, origin, folder, depth=depth)
        os.fchmod(folder, status.st_mode & _PERMISSIONS)
        os.utime(folder, ns=(status.st_mtime_ns, status.st_mtime_ns))
    finally:
        os.close(folder)


def _fill_folder(control: Control, origin: SandboxPath, folder: int, *, depth: int) -> None:
    for name, kind in control.request("list", path=str(origin))["names"]:
        _copy_entry(control, origin / _checked_name(name, origin), kind, folder, depth=depth + 1)


def _checked_name(name: object, where: SandboxPath) -> str:
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
        raise SandboxError(f"{where} holds an entry named {name!r}, which is no file name")
    return name


def _remove(name: str, parent: int) -> None:
    """What had this name before; if it was a link, the link, not what it points to."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)


def _refused(origin: SandboxPath) -> SandboxError:
    return SandboxError(f"{origin} is neither a file, a folder nor a link", hint="leave it out of what is copied")
