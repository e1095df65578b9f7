"""Mounting by descriptor: fsopen(2) and its family, open_tree(2), move_mount(2), mount_setattr(2), pivot_root(2).

And mount(2), for what older kernels have no descriptors for.
"""

import ctypes
import os
from collections.abc import Iterable
from ctypes import c_char_p, c_int, c_uint, c_uint64, c_ulong

from lxsandbox.syscalls._call import call, syscall

__all__ = [
    "detach", "mount_filesystem", "mount_setattr", "move_mount", "new_filesystem", "open_tree", "pivot_root",
    "set_propagation_private",
]  # fmt: skip

# include/uapi/linux/mount.h
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
MNT_DETACH = 2
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x04, 0x40
FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC = 1, 1
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 0x1, 0x2, 0x4, 0x8
MOUNT_ATTR_IDMAP = 0x00100000
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW = -100, 0x1000, 0x8000, 0x100

_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT, _SYS_MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}.get(os.uname().machine, 41)


class _MountAttr(ctypes.Structure):
    """struct mount_attr, version 0 (32 bytes, Linux 5.12), see mount_setattr(2)."""

    _fields_ = [(name, c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def set_propagation_private() -> None:
    """Let no mount of this namespace show in another, nor the other way round."""
    call("mount", None, b"/", None, c_ulong(MS_REC | MS_PRIVATE), None)


def new_filesystem(
    kind: str, options: Iterable[tuple[str, str | None]], *, attributes: int = 0, source: str = "lxsandbox"
) -> int:
    """Make a file system and return the descriptor of its detached mount; an option with None is a flag.

    Raises OSError; what the kernel's log for this file system context says is in the message.
    """
    context = syscall("fsopen", _SYS_FSOPEN, c_char_p(kind.encode()), c_uint(FSOPEN_CLOEXEC))
    try:
        _configure(context, FSCONFIG_SET_STRING, b"source", source.encode())
        for key, value in options:
            if value is None:
                _configure(context, FSCONFIG_SET_FLAG, key.encode(), None)
            else:
                _configure(context, FSCONFIG_SET_STRING, key.encode(), os.fsencode(value))
        _configure(context, FSCONFIG_CMD_CREATE, None, None)
        return syscall("fsmount", _SYS_FSMOUNT, c_int(context), c_uint(FSMOUNT_CLOEXEC), c_uint(attributes))
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} (new {kind} file system{_kernel_says(context)})") from error
    finally:
        os.close(context)


def mount_filesystem(kind: str, target: str, options: str, *, source: str = "lxsandbox") -> None:
    """Make a file system and attach it at `target`; `options` is a page of text at most, see mount(2)."""
    call("mount", source.encode(), os.fsencode(target), kind.encode(), c_ulong(0), options.encode())


def _configure(context: int, command: int, key: bytes | None, value: bytes | None) -> None:
    syscall("fsconfig", _SYS_FSCONFIG, c_int(context), c_uint(command), c_char_p(key), c_char_p(value), c_int(0))


def _kernel_says(context: int) -> str:
    # fsopen(2): messages of the context are read from its descriptor, one a read.
    try:
        return ": " + os.read(context, 512).decode(errors="replace").strip()
    except OSError:
        return ""


def open_tree(path: str, *, at: int = AT_FDCWD, recursive: bool = False) -> int:
    """A detached copy of the mount that `path` lies in, with `path` as its root. Symbolic links are followed."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return syscall("open_tree", _SYS_OPEN_TREE, c_int(at), c_char_p(os.fsencode(path)), c_uint(flags))


def move_mount(tree: int, target: int) -> None:
    """Attach the detached mount `tree` on the file or folder that the descriptor `target` stands for."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    syscall("move_mount", _SYS_MOVE_MOUNT, c_int(tree), c_char_p(b""), c_int(target), c_char_p(b""), c_uint(flags))


def mount_setattr(tree: int, *, set_: int = 0, userns_fd: int | None = None, recursive: bool = False) -> None:
    """Add attributes (MOUNT_ATTR_*) to the mount `tree`; with `userns_fd`, show its owners through that mapping too."""
    attributes = _MountAttr(attr_set=set_)
    if userns_fd is not None:
        attributes.attr_set |= MOUNT_ATTR_IDMAP
        attributes.userns_fd = userns_fd
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    syscall("mount_setattr", _SYS_MOUNT_SETATTR, c_int(tree), c_char_p(b""), c_uint(flags), ctypes.byref(attributes), size)


def pivot_root() -> None:
    """Make the working directory, a mount, the root of this namespace; the old root then lies over it, see pivot_root(2)."""
    syscall("pivot_root", _SYS_PIVOT_ROOT, c_char_p(b"."), c_char_p(b"."))


def detach(path: str) -> None:
    """Take the mount at `path` and all below it out of the namespace at once, see umount2(2) MNT_DETACH."""
    call("umount2", os.fsencode(path), c_int(MNT_DETACH))
