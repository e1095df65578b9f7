"""The content of one file into another, both open: holes stay holes, and never more than was there at the start."""

from __future__ import annotations

import errno
import os

__all__ = ["copy_content"]

_CHUNK_BYTES = 2**24
_NOT_FOR_THIS_FILE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def copy_content(source: int, target: int, size: int) -> None:
    """Copy the first `size` bytes of `source` to the empty file `target`.

    A sandbox may offer a hole of exabytes, or a file that grows as it is read: only data is copied, and `size` ends it.
    """
    offset = 0
    while offset < size:
        start = _seek(source, offset, os.SEEK_DATA, otherwise=offset)
        if start is None or start >= size:
            break
        end = _seek(source, start, os.SEEK_HOLE, otherwise=size) or size
        offset = _copy_range(source, target, start, min(end, size))
        if offset < min(end, size):
            return  # it shrank meanwhile
    os.ftruncate(target, size)


def _seek(fd: int, offset: int, whence: int, *, otherwise: int) -> int | None:
    """See lseek(2), SEEK_DATA: None beyond the last data; `otherwise` where the file system knows no holes."""
    try:
        return os.lseek(fd, offset, whence)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno in _NOT_FOR_THIS_FILE:
            return otherwise
        raise


def _copy_range(source: int, target: int, start: int, end: int) -> int:
    """Copy from `start` up to `end`; where it stopped, less than `end` only at the source's own end."""
    os.lseek(target, start, os.SEEK_SET)
    while start < end:
        count = min(_CHUNK_BYTES, end - start)
        try:
            done = os.sendfile(target, source, start, count)
        except OSError as error:
            if error.errno not in _NOT_FOR_THIS_FILE:
                raise
            done = _write_all(target, os.pread(source, min(count, 2**20), start))
        if not done:
            break
        start += done
    return start


def _write_all(fd: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
    return len(data)
