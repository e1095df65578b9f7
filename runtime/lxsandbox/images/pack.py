"""What has been written to a root, as a layer of an image or as a list of changes; by a process in the sandbox's user namespace.

Runs in a clone of the spawner, while the sandbox stands still. A layer is a tar archive as the OCI image specification's
layer.md has it, equal for equal trees.
"""

import os
import stat

from lxsandbox.images.tar_headers import HARD_LINK, entry, mark, raw
from lxsandbox.images.walk import Found, Upper, attributes, walk
from lxsandbox.rootfs.trees import open_trees
from lxsandbox.syscalls.clone import CLONE_NEWUSER, setns

TYPE_CHECKING = False  # loaded by a clone of the spawner
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, BinaryIO

__all__ = ["pack", "write_changes", "write_layer"]

_MAX_ENTRIES = 2_000_000  # as many as are unpacked
_MAX_HOLE_BYTES = 1 << 30  # of all files together: a sandbox makes a file of 8 EiB that takes no memory
_MAX_PATH_BYTES = 4095  # PATH_MAX without its NUL: what is longer, nothing unpacks
_MAX_LIST_BYTES = 256 << 20
_BLOCK_BYTES = 1 << 20
_DEFAULT_MODE = 0o755  # of the folder that a layer is unpacked into
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"  # layer.md, "Whiteouts"


def pack(request: "dict[str, Any]", sink: int, fds: "Sequence[int]") -> None:
    """Do what `request` asks: `form` is `layer` or `changes`, `uppers` says what of.

    `fds`: the sandbox's user namespace where this process is in another (`enter`), the uppers, each that is `veiled` followed
    by its veil, and the trees below them where this process is not to open them itself. Raises OSError, or ValueError for what
    no layer can hold.
    """
    described: list[dict[str, Any]] = request["uppers"]
    given = iter(fds)
    userns = next(given) if request["enter"] else None
    folders = [[next(given) for _ in range(2 if each["veiled"] else 1)] for each in described]
    uppers: list[Upper] = []
    for each, (folder, *veil) in zip(described, folders, strict=True):
        lowers = open_trees(each["lowers"]) if userns is None else [next(given) for _ in each["lowers"]]
        lowers[-1:-1] = veil
        uppers.append(Upper(each["target"], folder, lowers, {path: tuple(made) for path, made in each["made"].items()}))
    if userns is not None:
        setns(userns, CLONE_NEWUSER)
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    with open(sink, "wb", buffering=_BLOCK_BYTES) as out:
        (write_layer if request["form"] == "layer" else write_changes)(uppers, out)


def write_changes(uppers: "Sequence[Upper]", out: "BinaryIO") -> None:
    """Write each change as its kind, a space, the absolute path, and a NUL. Raises OSError, ValueError for too many."""
    size = 0
    for upper in uppers:
        top = upper.target.rstrip("/")
        for found in walk(upper):
            if found.kind == "same":
                continue
            path = f"{top}/{found.path}" if found.path else upper.target
            record = f"{found.kind} {path}\0".encode("utf-8", "surrogateescape")
            size += len(record)
            if size > _MAX_LIST_BYTES:
                raise ValueError(f"the paths of all changes take more than {_MAX_LIST_BYTES >> 20} MiB")
            out.write(record)


def write_layer(uppers: "Sequence[Upper]", out: "BinaryIO") -> None:
    """Write a tar archive of all that was changed. Raises OSError, or ValueError, naming the path, for what no layer can hold."""
    layer = _Layer(out)
    for upper in uppers:
        layer.add_all(upper)
    out.write(bytes(1024))  # two zero blocks end an archive


class _Layer:
    """An archive in the making: what of it was written, as far as that matters for what comes."""

    def __init__(self, out: "BinaryIO") -> None:
        self.out = out
        self.prefix = ""
        self.count = 0
        self.hole_bytes = 0
        self.files: dict[tuple[int, int], str] = {}  # of more than one name: where their content is
        # Folders that are here for what is in them, and come before it: an archive's folders have no defaults.
        self.waiting: list[tuple[str, bytes]] = []

    def add_all(self, upper: Upper) -> None:
        """Everything of one upper. Raises OSError, ValueError."""
        top = upper.target.strip("/")
        self.prefix = f"{top}/" if top else ""
        self.waiting = []
        for found in walk(upper):
            self.waiting = [each for each in self.waiting if found.path.startswith(each[0])]
            try:
                self._add(found)
            except FileNotFoundError:
                continue  # gone since it was found

    def _add(self, found: Found) -> None:
        path = self.prefix + found.path
        _check(path)
        if found.status is None:
            if not found.implied:
                self._whiteout(path)
        elif stat.S_ISDIR(found.status.st_mode):
            self._add_folder(found, found.status)
        elif stat.S_ISREG(found.status.st_mode):
            self._add_file(found, path)
        elif stat.S_ISSOCK(found.status.st_mode) or (stat.S_ISCHR(found.status.st_mode) and not found.status.st_rdev):
            # An archive has no sockets, and a device 0/0 would be a whiteout again; but what they replaced is gone.
            if found.existed:
                self._whiteout(path)
        else:
            link = os.readlink(found.name, dir_fd=found.fd) if stat.S_ISLNK(found.status.st_mode) else ""
            self._put(entry(path, found.status, link=link))

    def _put(self, header: bytes, content: "Iterable[bytes | memoryview]" = ()) -> None:
        self.count += 1
        if self.count > _MAX_ENTRIES:
            raise ValueError(f"more than {_MAX_ENTRIES} files were changed")
        for _, folder in self.waiting:
            self.out.write(folder)
        self.waiting.clear()
        self.out.write(header)
        for block in content:
            self.out.write(block)

    def _whiteout(self, path: str) -> None:
        folder, slash, name = path.rpartition("/")
        self._put(mark(f"{folder}{slash}{_WHITEOUT}{name}"))

    def _add_folder(self, found: Found, status: os.stat_result) -> None:
        path = f"{self.prefix}{found.path}/" if found.path else self.prefix or "./"
        header = entry(path, status, attributes=attributes(found.fd))
        if found.opaque:
            self._put(header + mark(("" if path == "./" else path) + _OPAQUE))
        elif found.kind != "same":
            self._put(header)
        elif path != "./" or stat.S_IMODE(status.st_mode) != _DEFAULT_MODE:  # else what is unpacked has it by itself
            self.waiting.append((f"{found.path}/" if found.path else "", header))

    def _add_file(self, found: Found, path: str) -> None:
        fd = found.open()
        try:
            status = os.fstat(fd)
            identity = status.st_dev, status.st_ino
            if identity in self.files:
                self._put(entry(path, status, kind=HARD_LINK, link=self.files[identity]))
                return
            if status.st_nlink > 1:
                self.files[identity] = path
            self.hole_bytes += max(0, status.st_size - status.st_blocks * 512)
            if self.hole_bytes > _MAX_HOLE_BYTES:
                why = f"the holes in sparse files, which a layer has to spell out, take more than {_MAX_HOLE_BYTES >> 30} GiB"
                raise ValueError(f"{'/' + path!r}: {why}")
            self._put(entry(path, status, size=status.st_size, attributes=attributes(fd)), _content(fd, status.st_size, path))
        finally:
            os.close(fd)


def _check(path: str) -> None:
    """Raises ValueError for a path that a layer has another use for, or that nothing unpacks."""
    name = path.rpartition("/")[2]
    if name.startswith(_WHITEOUT):
        raise ValueError(f"{'/' + path!r}: the format of layers keeps names that begin with {_WHITEOUT} for what was removed")
    if len(raw(path)) > _MAX_PATH_BYTES:
        raise ValueError(f"{'/' + path[:100]!r}...: a path of {len(raw(path))} bytes, of which {_MAX_PATH_BYTES} can be unpacked")


def _content(fd: int, size: int, path: str) -> "Iterator[bytes | memoryview]":
    """The file's blocks, each good until the next."""
    buffer = memoryview(bytearray(min(size, _BLOCK_BYTES)))  # one for all: fresh memory has to be cleared by the kernel
    left = size
    while left:
        count = os.readv(fd, [buffer[:left]])
        if not count:
            raise ValueError(f"{'/' + path!r} became shorter while it was packed")
        yield buffer[:count]
        left -= count
    yield bytes(-size % 512)
