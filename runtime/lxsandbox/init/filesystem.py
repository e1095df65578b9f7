"""Files of the sandbox for its clients: each path is resolved below init's root, never through a magic link."""

import errno
import os
import stat
import time

from lxsandbox.init.commands import Refused
from lxsandbox.init.users import UnknownUser, look_up
from lxsandbox.rootfs.removal import remove_tree
from lxsandbox.rootfs.targets import parent_and_name
from lxsandbox.syscalls.files import is_of_proc, openat2

TYPE_CHECKING = False  # the spawner loads this module
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

__all__ = ["OPERATIONS"]


def _open(root: int, request: "dict[str, Any]") -> "tuple[dict[str, Any], list[int]]":
    flags = request["flags"] | os.O_NONBLOCK | os.O_NOCTTY
    fd = openat2(root, request["path"], flags, mode=request["mode"])
    kind = stat.S_IFMT(os.fstat(fd).st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        os.close(fd)  # a FIFO would block the client, and a device is none of its business
        raise OSError(errno.EINVAL, "not a regular file")
    if flags & (os.O_WRONLY | os.O_RDWR) and is_of_proc(fd):
        os.close(fd)  # a link may lead to /proc/1/mem: what a client copies there would become code of init's
        raise OSError(errno.EACCES, "a file of /proc is not written to from outside")
    return {}, [fd]


def _stat(root: int, request: "dict[str, Any]") -> "dict[str, Any]":
    flags = os.O_PATH | (0 if request["follow"] else os.O_NOFOLLOW)
    fd = openat2(root, request["path"], flags)
    found = os.fstat(fd)
    os.close(fd)
    return {
        "mode": found.st_mode,
        "size": found.st_size,
        "uid": found.st_uid,
        "gid": found.st_gid,
        "mtime_ns": found.st_mtime_ns,
        "nlink": found.st_nlink,
        "ino": found.st_ino,
        "dev": found.st_dev,
    }


def _list(root: int, request: "dict[str, Any]") -> "dict[str, Any]":
    fd = openat2(root, request["path"], os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(fd) as entries:
            return {"names": [[entry.name, _kind(entry)] for entry in entries]}
    finally:
        os.close(fd)


def _kind(entry: "os.DirEntry[str]") -> str:
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "dir"
    return "file" if entry.is_file(follow_symlinks=False) else "other"


class _Parent:
    """The folder that holds the last component of a path, and that component."""

    def __init__(self, root: int, path: str) -> None:
        parent, self.name = parent_and_name(path)
        if self.name in ("", ".", ".."):
            raise OSError(errno.EINVAL, "the path ends in no name")
        self.fd = openat2(root, parent, os.O_PATH | os.O_DIRECTORY)

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def _mkdir(root: int, request: "dict[str, Any]") -> "dict[str, Any]":
    path = request["path"]
    if request["parents"]:
        parts = [part for part in path.split("/") if part]
        for depth in range(1, len(parts)):
            _mkdir_one(root, "/" + "/".join(parts[:depth]), 0o777, exist_ok=True)
    _mkdir_one(root, path, request["mode"], exist_ok=request["exist_ok"])
    return {}


def _mkdir_one(root: int, path: str, mode: int, *, exist_ok: bool) -> None:
    try:
        with _Parent(root, path) as place:
            os.mkdir(place.name, mode, dir_fd=place.fd)
    except FileExistsError:
        if not exist_ok:
            raise
        os.close(openat2(root, path, os.O_PATH | os.O_DIRECTORY))


def _unlink(root: int, request: "dict[str, Any]") -> "dict[str, Any]":
    with _Parent(root, request["path"]) as place:
        os.unlink(place.name, dir_fd=place.fd)
    return {}


def _rmdir(root: int, request: "dict[str, Any]") -> "dict[str, Any]":
    with _Parent(root, request["path"]) as place:
        os.rmdir(place.name, dir_fd=place.fd)
    return {}


def _rmtree(root: int, request: "dict[str, Any]") -> "dict[str, Any]":
    with _Parent(root, request["path"]) as place:
        remove_tree(place.fd, place.name)
    return {}


def _readlink(root: int, request: "dict[str, Any]") -> "dict[str, Any]":
    with _Parent(root, request["path"]) as place:
        return {"target": os.readlink(place.name, dir_fd=place.fd)}


def _symlink(root: int, request: "dict[str, Any]") -> "dict[str, Any]":
    with _Parent(root, request["path"]) as place:
        os.symlink(request["target"], place.name, dir_fd=place.fd)
    return {}


def _chmod(root: int, request: "dict[str, Any]") -> "dict[str, Any]":
    fd = openat2(root, request["path"], os.O_PATH)
    try:
        os.chmod(f"/proc/self/fd/{fd}", request["mode"] & 0o7777)
    finally:
        os.close(fd)
    return {}


def _settle(root: int, request: "dict[str, Any]") -> "dict[str, Any]":
    """Owner, mode and time, in this order: chown(2) clears the set-user-id bit."""
    uid, gid = request["owner"]
    with _Parent(root, request["path"]) as place:
        os.chown(place.name, uid, gid, dir_fd=place.fd, follow_symlinks=False)
        if request["mode"] is None:
            return {}
        fd = os.open(place.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.fd)
    try:
        os.chmod(f"/proc/self/fd/{fd}", request["mode"] & 0o7777)
        if request["mtime_ns"] is not None:
            os.utime(f"/proc/self/fd/{fd}", ns=(request["mtime_ns"], request["mtime_ns"]))
    finally:
        os.close(fd)
    return {}


def _link(root: int, request: "dict[str, Any]") -> "dict[str, Any]":
    with _Parent(root, request["target"]) as old, _Parent(root, request["path"]) as new:
        os.link(old.name, new.name, src_dir_fd=old.fd, dst_dir_fd=new.fd, follow_symlinks=False)
    return {}


def _account(root: int, request: "dict[str, Any]") -> "dict[str, Any]":
    try:
        account = look_up(root, request["user"])
    except UnknownUser as error:
        raise Refused("SpecError", str(error), 'use a user of the image, a uid, or "uid:gid"') from error
    return {"uid": account.uid, "gid": account.gid}


def _utime(root: int, request: "dict[str, Any]") -> "dict[str, Any]":
    fd = openat2(root, request["path"], os.O_PATH)
    when = time.time_ns() if request["mtime_ns"] is None else request["mtime_ns"]
    try:
        os.utime(f"/proc/self/fd/{fd}", ns=(when, when))
    finally:
        os.close(fd)
    return {}


def _rename(root: int, request: "dict[str, Any]") -> "dict[str, Any]":
    with _Parent(root, request["path"]) as old, _Parent(root, request["target"]) as new:
        os.replace(old.name, new.name, src_dir_fd=old.fd, dst_dir_fd=new.fd)
    return {}


OPERATIONS: "dict[str, Callable[[int, dict[str, Any]], Any]]" = {
    "open": _open,
    "stat": _stat,
    "list": _list,
    "mkdir": _mkdir,
    "unlink": _unlink,
    "rmdir": _rmdir,
    "rmtree": _rmtree,
    "readlink": _readlink,
    "symlink": _symlink,
    "chmod": _chmod,
    "settle": _settle,
    "link": _link,
    "account": _account,
    "rename": _rename,
    "utime": _utime,
}
