"""Compiled filters kept on disk between runs, in the user's own cache folder.

A cache only: whatever is wrong with it, the filter is compiled again. But what it holds decides what a sandbox may do, so
a file that another user could have written, or that is not whole, is not used.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["load", "store"]

_DIGEST_BYTES = 32
_LARGEST_BYTES = 8 * 4096 + _DIGEST_BYTES  # BPF_MAXINSNS of include/uapi/linux/bpf_common.h


def load(key: str) -> bytes | None:
    """The program stored under this key, or None."""
    try:
        content = _read_own_file(_folder() / f"{key}.bpf")
    except OSError:
        return None
    digest, program = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    whole = bool(program) and len(program) % 8 == 0 and hashlib.sha256(program).digest() == digest
    return program if whole else None


def store(key: str, program: bytes) -> None:
    """Keeps the program under this key. Readers see the whole file or none; a cache that cannot be written stays as it is."""
    with suppress(OSError):
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_in_place(folder, f"{key}.bpf", hashlib.sha256(program).digest() + program)


def _write_in_place(folder: Path, name: str, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")  # mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.rename(temporary, folder / name)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _read_own_file(path: Path) -> bytes:
    with open(path, "rb", opener=_open_no_link) as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise PermissionError(f"{path} is not a file of this user's alone")
        return file.read(_LARGEST_BYTES + 1)


def _open_no_link(path: str, flags: int) -> int:
    # NONBLOCK: a fifo put there must not hold up the service.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _folder() -> Path:
    # The XDG base directory specification: a relative path is to be ignored.
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache"), "lxsandbox", "seccomp")
