"""Messages between client, service, spawner and init: one JSON object and some descriptors for each packet.

Sockets are unix SOCK_SEQPACKET, so a message is whole or absent, and end-of-file is the death of the peer. What the messages
mean is decided by those who send them.
"""

import json
import os
import socket
import struct
from collections.abc import Callable, Sequence

TYPE_CHECKING = False  # the spawner loads this module: typing itself costs it half a megabyte
if TYPE_CHECKING:
    from typing import Any

__all__ = ["MAX_FDS", "Message", "pair", "receive", "send"]

Message = dict[str, "Any"]

# unix(7): a packet must fit the send buffer (net.core.wmem_default, 208 KiB); longer ones travel in a memory file.
_INLINE_BYTES = 64 * 1024
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_FDS = 200  # of one message; the kernel's own bound is 253 (SCM_MAX_FD)
_IN_MEMORY_FILE = b"\0"
# Plain numbers: an IntFlag takes three microseconds for each `|`, and init a page of its own for each function of it.
_NOSIGNAL, _CLOEXEC = int(socket.MSG_NOSIGNAL), int(socket.MSG_CMSG_CLOEXEC)
_CUT_SHORT = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_RIGHTS_BYTES = socket.CMSG_SPACE(MAX_FDS * 4)

_encode: "Callable[[Any], str]" = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_decode: "Callable[[str], Any]" = json.JSONDecoder().decode


def pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair of message sockets, both close-on-exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, message: Message, fds: Sequence[int] = (), flags: int = 0) -> None:
    """Send `message`; `fds` are duplicated into the receiver, and remain the caller's. Raises OSError."""
    data = _encode(message).encode("utf-8", "surrogatepass")
    if len(data) > _INLINE_BYTES:
        body = os.memfd_create("lxsandbox-message")
        try:
            _write_memory_file(body, data)
            _send_packet(sock, _IN_MEMORY_FILE, [body, *fds], flags)
        finally:
            os.close(body)
    else:
        _send_packet(sock, data, fds, flags)


def _send_packet(sock: socket.socket, data: bytes, fds: Sequence[int], flags: int) -> None:
    if fds:
        rights = struct.pack(f"{len(fds)}i", *fds)
        sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], flags | _NOSIGNAL)
    else:
        sock.send(data, flags | _NOSIGNAL)


def receive(sock: socket.socket, flags: int = 0) -> tuple[Message, list[int]] | None:
    """The next message and its descriptors (close-on-exec, now the caller's); None at end-of-file.

    Raises OSError, also EBADMSG for what no peer of ours would send; then no descriptor is left open.
    """
    asked = (_INLINE_BYTES, _RIGHTS_BYTES, flags | _CLOEXEC)
    try:
        data, ancillary, message_flags, _ = sock.recvmsg(*asked)
    except ConnectionResetError:
        # The peer ended with something of ours unread. That is told once; what it said before is still there.
        data, ancillary, message_flags, _ = sock.recvmsg(*asked)
    fds: list[int] = []
    for level, kind, rights in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.extend(struct.unpack(f"{len(rights) // 4}i", rights[: len(rights) - len(rights) % 4]))
    if not data:
        _close_all(fds)
        return None
    try:
        if message_flags & _CUT_SHORT:
            raise OSError(74, "message cut short")
        if data == _IN_MEMORY_FILE:
            data = _read_memory_file(fds.pop(0) if fds else -1)
        message: Message = _decode(data.decode("utf-8", "surrogatepass"))
        if type(message) is not dict:
            raise OSError(74, "message is not an object")
    except (OSError, ValueError, RecursionError) as error:
        _close_all(fds)
        raise error if isinstance(error, OSError) else OSError(74, f"bad message: {error}") from error
    return message, fds


def _write_memory_file(fd: int, data: bytes) -> None:
    if len(data) > _MAX_MESSAGE_BYTES:
        _refuse(len(data))
    os.write(fd, data)


def _read_memory_file(fd: int) -> bytes:
    try:
        size = os.fstat(fd).st_size
        if size > _MAX_MESSAGE_BYTES:
            _refuse(size)
        return os.pread(fd, size, 0)
    finally:
        if fd >= 0:
            os.close(fd)


def _refuse(size: int) -> None:
    raise OSError(90, f"a message of {size} bytes is over the bound of {_MAX_MESSAGE_BYTES}")


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
