"""Sockets of the sandbox for those outside: opened in its network, or connected to a unix socket below its root."""

import errno
import os
import socket
import stat

from lxsandbox.init.commands import Refused
from lxsandbox.syscalls.files import is_of_proc, openat2

TYPE_CHECKING = False  # the spawner loads this module
if TYPE_CHECKING:
    from typing import Any

__all__ = ["OPERATIONS"]

_MOST = 64  # of one answer
_OWN_DESCRIPTORS = "/proc/self/fd"


def _socket(_: int, request: "dict[str, Any]") -> "tuple[dict[str, Any], list[int]]":
    """As many as asked for, not connected."""
    count = request.get("count", 1)
    if not isinstance(count, int) or not 1 <= count <= _MOST:
        raise Refused("SandboxError", f"init opens {_MOST} sockets at a time, and not {count!r}")
    opened: list[int] = []
    try:
        while len(opened) < count:
            opened.append(socket.socket(request["family"], request["type"], request.get("proto", 0)).detach())
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    return {}, opened


def _connect(root: int, request: "dict[str, Any]") -> "tuple[dict[str, Any], list[int]]":
    """A stream connected to the unix socket `path`. EAGAIN where its backlog is full: PID 1 waits for nobody."""
    found = openat2(root, request["path"], os.O_PATH)
    try:
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            raise OSError(errno.ECONNREFUSED, "not a socket")
        # By its descriptor, since by its name it may be another by now, and longer than sockaddr_un takes, see unix(7).
        own = openat2(root, _OWN_DESCRIPTORS, os.O_PATH | os.O_DIRECTORY)
        try:
            if not is_of_proc(own):
                raise OSError(errno.EACCES, f"{_OWN_DESCRIPTORS} of the sandbox is not the kernel's")
            return {}, [_connected(root, own, str(found))]
        finally:
            os.close(own)
    finally:
        os.close(found)


def _connected(root: int, folder: int, name: str) -> int:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        os.fchdir(folder)
        sock.connect(name)
        return sock.detach()
    finally:
        os.fchdir(root)
        sock.close()


OPERATIONS = {"socket": _socket, "connect": _connect}
