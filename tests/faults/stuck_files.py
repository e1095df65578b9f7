"""A file system whose server never answers: whoever looks up a name in it waits in state D, and SIGKILL does not end that.

See fuse(4) and Documentation/filesystems/fuse in the kernel: a request that the server has read cannot be interrupted; it
ends with its answer, or with the server.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["stuck_file_system"]

LOOKUP, GETATTR, INIT = 1, 3, 26
INIT_EXT, ALLOW_IDMAP = 1 << 30, 1 << (40 - 32)
FOLDER_MODE = 0o40755
MNT_DETACH = 2


@contextmanager
def stuck_file_system(point: Path) -> Iterator[threading.Event]:
    """Mounted at `point` until the block ends; the event is set once somebody waits for an answer. Needs root."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions".encode()
    if libc.mount(b"stuck", os.fsencode(point), b"fuse", 0, options) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    asked = threading.Event()
    server = threading.Thread(target=_serve, args=(device, asked))
    server.start()
    try:
        yield asked
    finally:
        libc.umount2(os.fsencode(point), 1)  # MNT_FORCE: aborts the connection, and with it every wait
        libc.umount2(os.fsencode(point), MNT_DETACH)
        server.join()
        os.close(device)


def _serve(device: int, asked: threading.Event) -> None:
    """Answer what a mount and a stat of its root need; never a lookup."""
    while True:
        try:
            request = os.read(device, 1 << 17)
        except OSError:  # ENODEV: the connection was aborted
            return
        opcode, unique = struct.unpack_from("<IQ", request, 4)
        if opcode == INIT:
            version = struct.unpack_from("<IIII", request, 40)
            flags = INIT_EXT
            answer = struct.pack("<IIIIHHIIHHII", 7, min(version[1], 40), version[2], flags, 0, 0, 4096, 0, 0, 0, ALLOW_IDMAP, 0)
            _reply(device, unique, answer.ljust(64, b"\0"))
        elif opcode == GETATTR:
            inode = struct.pack("<QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, FOLDER_MODE, 2, 0, 0, 0, 4096, 0)
            _reply(device, unique, struct.pack("<QII", 60, 0, 0) + inode)
        elif opcode == LOOKUP:
            asked.set()
        else:
            os.write(device, struct.pack("<IiQ", 16, -38, unique))  # ENOSYS


def _reply(device: int, unique: int, answer: bytes) -> None:
    os.write(device, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)
