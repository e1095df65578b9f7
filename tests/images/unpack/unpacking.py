"""Unpacking as it is done for images: by the spawner's function in a process of its own, as root and as a plain user."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import lxsandbox

__all__ = ["AS", "Looked", "Unpacked", "look", "unpacked"]

RUNTIME = str(Path(lxsandbox.__file__).parent.parent)
AS = {
    "root": [],
    "single": ["unshare", "--user", "--map-root-user"],
    "range": ["unshare", "--user", "--map-root-user", "--map-auto"],
}
_UNPACK = """
import sys
sys.path.insert(0, sys.argv[1])
from lxsandbox.spawner.loop import _unpack
{before}
_unpack(0, 1, sys.argv[2], sys.argv[3])
"""


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """What became of an archive: `said` is why it was refused, empty when it was not."""

    root: Path
    said: str

    def names(self) -> set[str]:
        """All that is there, by its path below the root."""
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*")}


def unpacked(archive: bytes, root: Path, *, form: str = "root", user: str = "single", before: str = "") -> Unpacked:
    """Unpack into the new folder `root`, as one of AS; `before` is run in the process that does it."""
    root.mkdir(0o755)
    code = _UNPACK.format(before=before)
    done = subprocess.run(
        [*AS[user], sys.executable, "-I", "-c", code, RUNTIME, str(root), form],
        input=archive, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    said = done.stdout.decode("utf-8", "surrogateescape")
    assert not done.stderr, done.stderr.decode()
    assert bool(said) == bool(done.returncode), done
    return Unpacked(root=root, said=said)


Looked = dict[str, tuple[object, ...]]


def look(root: Path, *names: str) -> Looked:
    """Everything about every file below `root`: type, mode, owner, time, links, device, content, attributes.

    With `names`, of these in it and what is below them.
    """
    paths = [path for name in names for path in (root / name, *(root / name).rglob("*"))] if names else [*root.rglob("*")]
    found: Looked = {}
    inodes: dict[int, str] = {}
    for path in sorted(paths):
        now = path.lstat()
        name = str(path.relative_to(root))
        kind = stat.S_IFMT(now.st_mode)
        content: object = None
        if kind == stat.S_IFREG:
            content = path.read_bytes()
        elif kind == stat.S_IFLNK:
            content = os.readlink(path)
        xattrs = {each: os.getxattr(path, each, follow_symlinks=False) for each in os.listxattr(path, follow_symlinks=False)}
        same = inodes.setdefault(now.st_ino, name) if kind != stat.S_IFDIR else name
        found[name] = (now.st_mode, now.st_uid, now.st_gid, now.st_mtime_ns, now.st_rdev, content, xattrs, same)
    return found
