"""A root with every kind of entry, in three layers, as umoci packs what was changed between them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

from images.unpack.unpacking import Looked, look

__all__ = ["FOLDERS", "make_layers", "make_tree", "run", "unpacked_by_umoci"]

FOLDERS = ("all", "merged", "opaque")
"""Where everything is: beside it a sandbox has files of its own, and the tools that look at it."""

_CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # VFS_CAP_REVISION_2, CAP_NET_RAW
_LOWEST = (
    *("all/gone", "all/folder-gone/deep/file", "all/to-folder", "all/to-file/below", "all/to-file/deep/below"),
    *("opaque/below", "merged/low"),
)
_NANOSECONDS = 1_600_000_000_123_456_789


def run(*command: str | Path) -> str:
    """What the program prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_tree(root: Path) -> None:
    """One of everything below `root`, and what later layers hide or replace. For root alone."""
    top = root / "all"
    for name in _LOWEST:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"lowest {name}")
    (top / "owned").write_text("text")
    os.chown(top / "owned", 1000, 65_000)
    os.link(top / "owned", root / "merged" / "hard")
    (top / "link").symlink_to("x" * 200)
    os.chown(top / "link", 5, 6, follow_symlinks=False)
    (top / "to-folder-link").symlink_to("owned")
    for name, mode in (("setuid", 0o4751), ("setgid", 0o2710), ("closed", 0)):
        (top / name).write_text(name)
        (top / name).chmod(mode)
    (top / "sticky").mkdir()
    (top / "sticky").chmod(0o1777)
    (top / ("n" * 255)).write_text("long name")
    (top.joinpath(*("d" * 100 for _ in range(4)))).mkdir(parents=True)
    (top / os.fsdecode(b"not-utf-8-\xff\xfe")).write_text("")
    (top / "new\nline").write_text("")
    with (top / "holes").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    os.mkfifo(top / "fifo", 0o640)
    os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(top / "disk", stat.S_IFBLK | 0o660, os.makedev(8, 300))
    os.setxattr(top / "owned", "user.file", b"a\0b\n=\xff")
    os.setxattr(top / "sticky", "user.folder", b"y")
    (top / "ping").write_text("")
    for name, mode in (("owned", 0o751), ("owned/closed", 0o2700)):
        (root / "merged" / name).mkdir()
        os.chown(root / "merged" / name, 7, 8)
        (root / "merged" / name).chmod(mode)
        os.setxattr(root / "merged" / name, "user.folder", name.encode())
    os.setxattr(top / "ping", "security.capability", _CAPABILITY)
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, _NANOSECONDS + number * 10**9), follow_symlinks=False)


def make_layers(place: Path) -> Path:
    """An OCI layout by umoci in `place`, with the image `it` of three layers over everything. Returns its folder."""
    layout, bundle, tree = place / "layout", place / "bundle", place / "tree"
    image = ("--image", f"{layout}:it")
    make_tree(tree)
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", *image)
    # umoci rounds times to seconds when it packs; what tar has packed it takes as it is.
    lowest = place / "lowest.tar"
    run("tar", "--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-cf", lowest, "-C", tree, *FOLDERS)
    run("umoci", "raw", "add-layer", *image, lowest)
    run("umoci", "unpack", *image, bundle)
    _change(bundle / "rootfs" / "all")
    run("umoci", "repack", *image, bundle)
    (place / "inserted").mkdir()
    (place / "inserted" / "new").write_text("highest")
    run("umoci", "insert", "--opaque", *image, place / "inserted", "/opaque")
    run("umoci", "insert", *image, place / "inserted", "/merged")
    # Of the folders above it the layer says nothing: those below it do.
    run("umoci", "insert", *image, place / "inserted" / "new", "/merged/owned/closed/inserted")
    return layout


def _change(top: Path) -> None:
    (top / "gone").unlink()
    for name in ("folder-gone", "to-file"):
        shutil.rmtree(top / name)
    (top / "to-file").write_text("was a folder")
    for name in ("to-folder", "to-folder-link"):
        (top / name).unlink()
        (top / name).mkdir()
        (top / name / "file").write_text("was none")
    (top / "owned").write_text("changed, and no longer linked")
    (top / "ping").chmod(0o711)


def unpacked_by_umoci(layout: Path, tag: str, bundle: Path) -> Looked:
    """What umoci makes of an image."""
    run("umoci", "unpack", "--image", f"{layout}:{tag}", bundle)
    return look(bundle / "rootfs", *FOLDERS)
