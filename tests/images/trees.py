"""Upper and lower layers made by hand, as overlayfs has them, and what is found in them."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from lxsandbox.images import pack
from lxsandbox.images.walk import Upper

__all__ = ["archive", "changes", "layer", "opaque", "opened", "whiteout"]

Made = Mapping[str, tuple[str, int, str]]


def whiteout(path: Path, *, form: str = "device") -> None:
    """Hide what the layers below have at `path`, in one of the two forms of overlayfs.rst."""
    if form == "device":
        os.mknod(path, stat.S_IFCHR, 0)  # a plain user's too, since Linux 5.8
    else:
        path.touch()
        os.setxattr(path, "user.overlay.whiteout", b"")


def opaque(folder: Path) -> Path:
    """A folder that hides what the layers below have in it."""
    folder.mkdir(parents=True, exist_ok=True)
    os.setxattr(folder, "user.overlay.opaque", b"y")
    return folder


def opened(stack: ExitStack, upper: Path, lowers: Sequence[Path], made: Made, target: str = "/") -> Upper:
    """The layer with its descriptors, which `stack` closes. Without `lowers` there is an empty one, for the owner of the top."""
    if not lowers:
        lowers = [upper.parent / "nothing"]
        lowers[0].mkdir(mode=0o755, exist_ok=True)
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (upper, *lowers)]
    for fd in fds:
        stack.callback(os.close, fd)
    return Upper(target, fds[0], fds[1:], dict(made))


def changes(upper: Path, *lowers: Path, made: Made | None = None, target: str = "/") -> list[str]:
    """Each change in `upper` as its kind and path, sorted by path."""
    out = io.BytesIO()
    with ExitStack() as stack:
        pack.write_changes([opened(stack, upper, lowers, made or {}, target)], out)
    found = out.getvalue().decode("utf-8", "surrogateescape").split("\0")[:-1]
    return sorted(found, key=lambda change: change.partition(" ")[2])


def archive(upper: Path, *lowers: Path, made: Made | None = None, target: str = "/", out: io.BytesIO | None = None) -> bytes:
    """The layer that `upper` is packed as."""
    out = io.BytesIO() if out is None else out
    with ExitStack() as stack:
        pack.write_layer([opened(stack, upper, lowers, made or {}, target)], out)
    return out.getvalue()


def layer(upper: Path, *lowers: Path, made: Made | None = None, target: str = "/") -> dict[str, tarfile.TarInfo]:
    """The entries of that layer by name, in their order."""
    with tarfile.open(fileobj=io.BytesIO(archive(upper, *lowers, made=made, target=target)), mode="r:") as packed:
        return {member.name: member for member in packed}
