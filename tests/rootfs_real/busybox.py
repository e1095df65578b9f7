"""A root file system of one program, and archives of it, made without root."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import zstandard

COMMANDS = ("cat", "chmod", "chown", "echo", "env", "false", "head", "id", "ls", "mkdir", "mount", "pwd", "rm", "sh", "sleep",
            "stat", "touch", "true", "wc")  # fmt: skip
# Each at its quickest: what they take at their best, hundreds of times, is a part of the suite's time that tests nothing.
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "gz": partial(gzip.compress, compresslevel=1),
    "xz": partial(lzma.compress, preset=0),
    "bz2": partial(bz2.compress, compresslevel=1),
    "zst": zstandard.ZstdCompressor().compress,
}


def make_root(folder: Path) -> Path:
    """`folder/bin` with busybox and its links: nothing else, no /etc, no /proc, no /tmp."""
    (folder / "bin").mkdir(parents=True)
    busybox = shutil.which("busybox", path=os.environ.get("PATH", "") + ":/usr/bin:/bin")
    assert busybox is not None
    shutil.copy(busybox, folder / "bin" / "busybox")
    for name in COMMANDS:
        (folder / "bin" / name).symlink_to("busybox")
    for path in (folder, folder / "bin"):
        path.chmod(0o755)
    return folder


def make_tar(file: Path, root: Path, *, text: str = "", more: tuple[tarfile.TarInfo, ...] = ()) -> Path:
    """An archive of `root`, owned by root, with `text` in /text; compressed as the end of the file's name says."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(root, ".", filter=_owned_by_root)
        info = tarfile.TarInfo("text")
        info.size = len(text.encode())
        archive.addfile(info, io.BytesIO(text.encode()))
        for member in more:
            archive.addfile(member)
    file.write_bytes(COMPRESS[file.name.rpartition(".")[2]](buffer.getvalue()))
    return file


def entry(name: str, **fields: object) -> tarfile.TarInfo:
    """One more entry for `make_tar`."""
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def _owned_by_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info
