"""Where an image's files are read from: a folder, or an archive. Names in it are the image's, so none is followed out of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Protocol

from lxsandbox.errors import ImageError
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.documents import LARGEST_DOCUMENT_BYTES

__all__ = ["BLOCK_BYTES", "FolderSource", "Source", "blocks_of", "copy_blob", "listed", "open_regular", "read_document", "shown"]

BLOCK_BYTES = 1 << 20
_MOST_LISTED = 20
_LONGEST_SHOWN = 200


class Source(Protocol):
    """Files by their names. What is missing or is no file is an ImageError that names the source and the entry."""

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    def size(self, entry: str) -> int:
        """The size of a file in bytes."""
        ...

    def position(self, entry: str, /) -> int:
        """Files are best read in the order of their positions."""
        ...

    def open(self, entry: str) -> BinaryIO:
        """The file, which can be read from any place; for the caller to close."""
        ...


def blocks_of(source: Source, entry: str) -> Iterator[bytes]:
    """The content of a file. Raises ImageError."""
    with source.open(entry) as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def copy_blob(blobs: Blobs, digest: str, size: int, blocks: Iterable[bytes], what: str) -> None:
    """Store a blob. Raises ImageError that says where it came from: the store knows it by its digest alone."""
    try:
        blobs.take_in(digest, size, blocks)
    except ImageError as error:
        if what in error.message:
            raise
        raise ImageError(f"{what}: {error.message}", hint=error.hint) from error


def read_document(source: Source, entry: str) -> bytes:
    """The content of a small file. Raises ImageError for one that is too large to be a document."""
    size = source.size(entry)
    if size > LARGEST_DOCUMENT_BYTES:
        raise ImageError(f"{source.name}: {shown(entry)} is of {size} bytes, and {LARGEST_DOCUMENT_BYTES} is the most")
    with source.open(entry) as file:
        return file.read(LARGEST_DOCUMENT_BYTES)


def listed(names: Sequence[str]) -> str:
    """Names as a message has them, and not too many."""
    more = [f"{len(names) - _MOST_LISTED} more"] if len(names) > _MOST_LISTED else []
    return ", ".join([shown(name) for name in names[:_MOST_LISTED]] + more)


def shown(name: str) -> str:
    """A name as a message has it: cut, and harmless to a terminal."""
    return name[:_LONGEST_SHOWN] if name.isprintable() else repr(name[:_LONGEST_SHOWN])


def open_regular(path: str, what: str) -> BinaryIO:
    """A regular file, opened for reading. Raises ImageError, naming `what`, for anything else: a fifo would be waited for."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise ImageError(f"{what} cannot be read: {error.strerror}") from error
    return _regular(fd, what)


def _regular(fd: int, what: str) -> BinaryIO:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ImageError(f"{what} is not a file")
    return open(fd, "rb")


class FolderSource:
    """A folder of files. A file that is a link is refused; folders may be links, which is how layouts share their blobs."""

    def __init__(self, folder: str) -> None:
        self.name = folder
        if not os.path.isdir(folder):
            raise ImageError(f"{folder} is not a folder", hint="name the folder that holds index.json")

    def size(self, entry: str) -> int:
        with self.open(entry) as file:
            return os.fstat(file.fileno()).st_size

    def position(self, _entry: str, /) -> int:
        return 0

    def open(self, entry: str) -> BinaryIO:
        what = f"{self.name}: {entry}"
        try:
            fd = os.open(os.path.join(self.name, entry), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise ImageError(f"{what} is a link, which is not followed", hint="put the file itself there") from None
            raise ImageError(f"{what} cannot be read: {error.strerror}") from error
        return _regular(fd, what)
