"""Files and folders of the host into a sandbox.

The init inside opens every target below its own root, so that no link there leads out. The source is walked by
descriptors, since it may lie on a folder that the sandbox can write.
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

__all__ = ["copy_in", "set_times"]

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
_MAX_DEPTH = 200  # of folders; a link cannot make a loop, so anything deeper is no tree that a test means


def copy_in(control: Control, source: str | os.PathLike[str], target: object) -> None:
    """Copy `source` to `target` in the sandbox, or into it where it is a folder, as `cp -r` and shutil.copy do.

    Permission bits and times of modification are kept, owners become the sandbox's root. A link inside a folder is copied
    as a link. Raises OSError, and SandboxError for a fifo, socket or device.
    """
    path = os.path.abspath(source)
    goal = SandboxPath(control, checked_path(target))
    if goal.is_dir() and os.path.basename(path):
        goal = goal / os.path.basename(path)
    fd = os.open(path, _READ)
    try:
        _copy_open(control, fd, path, goal, depth=0)
    finally:
        os.close(fd)


def set_times(control: Control, fd: int, path: SandboxPath, mtime_ns: int) -> None:
    """Set the time of modification of what is open as `fd`; a file of another user's (rootless) only init can change."""
    try:
        os.utime(fd, ns=(mtime_ns, mtime_ns))
    except PermissionError:
        control.request("utime", path=str(path), mtime_ns=mtime_ns)


def _copy_open(control: Control, fd: int, name: str, goal: SandboxPath, *, depth: int) -> None:
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode):
        _copy_file(control, fd, status, goal)
    elif stat.S_ISDIR(status.st_mode):
        _copy_folder(control, fd, status, goal, depth=depth)
    else:
        raise _refused(name)


def _copy_file(control: Control, fd: int, status: os.stat_result, goal: SandboxPath) -> None:
    mode = stat.S_IMODE(status.st_mode)
    target = control.request_fd("open", path=str(goal), flags=_WRITE, mode=mode & 0o777)
    try:
        copy_content(fd, target, status.st_size)
        _set_mode(control, target, goal, mode)
        set_times(control, target, goal, status.st_mtime_ns)
    finally:
        os.close(target)


def _copy_folder(control: Control, fd: int, status: os.stat_result, goal: SandboxPath, *, depth: int) -> None:
    if depth >= _MAX_DEPTH:
        raise SandboxError(f"{goal} lies more than {_MAX_DEPTH} folders deep")
    goal.mkdir(0o700, exist_ok=True)
    with os.scandir(fd) as entries:
        found = list(entries)
    for entry in found:
        _copy_entry(control, fd, entry, goal / entry.name, depth=depth + 1)
    # Last: a folder that may not be written could not be filled, and filling it changes its time.
    target = control.request_fd("open", path=str(goal), flags=os.O_RDONLY | os.O_DIRECTORY, mode=0)
    try:
        _set_mode(control, target, goal, stat.S_IMODE(status.st_mode))
        set_times(control, target, goal, status.st_mtime_ns)
    finally:
        os.close(target)


def _copy_entry(control: Control, folder: int, entry: os.DirEntry[str], goal: SandboxPath, *, depth: int) -> None:
    if entry.is_symlink():
        _copy_link(os.readlink(entry.name, dir_fd=folder), goal)
        return
    if not entry.is_file(follow_symlinks=False) and not entry.is_dir(follow_symlinks=False):
        raise _refused(entry.name)  # unopened: to open a device may do something
    fd = os.open(entry.name, _READ | os.O_NOFOLLOW, dir_fd=folder)
    try:
        _copy_open(control, fd, entry.name, goal, depth=depth)
    finally:
        os.close(fd)


def _copy_link(link: str, goal: SandboxPath) -> None:
    try:
        goal.symlink_to(link)
    except FileExistsError:
        with suppress(FileNotFoundError):
            goal.unlink()
        goal.symlink_to(link)


def _set_mode(control: Control, fd: int, path: SandboxPath, mode: int) -> None:
    try:
        os.fchmod(fd, mode)
    except PermissionError:
        control.request("chmod", path=str(path), mode=mode)


def _refused(name: str) -> SandboxError:
    return SandboxError(f"{name} is neither a file, a folder nor a link", hint="leave it out of what is copied")
