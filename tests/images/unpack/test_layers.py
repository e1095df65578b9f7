"""Layers: what hides lower ones becomes what overlayfs has for it, and the stack is what the image's maker saw."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from images.unpack.making import END, file, folder, hard_link, link, pax
from images.unpack.test_equality import umoci_root
from images.unpack.unpacking import AS, look, unpacked
from needs import needs

USERS = [pytest.param("root", marks=needs("root")), pytest.param("single", marks=needs("user-namespaces"))]
# As on a host whose filter of system calls knows no mknod: both calls are refused as it would refuse them.
NO_MKNOD = """
import errno, pyseccomp
refusing = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
for call in ("mknod", "mknodat"):
    refusing.add_rule(pyseccomp.ERRNO(errno.EPERM), call)
refusing.load()
"""
FORMS = [pytest.param("", id="devices"), pytest.param(NO_MKNOD, id="files", marks=needs("libseccomp"))]
_SHOW = """
import json, os, subprocess, sys
merged, *lowers = sys.argv[1:]
subprocess.run(["mount", "-t", "overlay", "overlay", "-o", "ro,userxattr,lowerdir=" + ":".join(lowers), merged], check=True)
shown = {}
for folder, folders, files in os.walk(merged):
    for path in (os.path.join(folder, name) for name in folders + files):
        what = os.readlink(path) if os.path.islink(path) else None if os.path.isdir(path) else open(path).read()
        shown[os.path.relpath(path, merged)] = what
print(json.dumps(shown))
"""


def stacked(tmp_path: Path, layers: list[bytes], *, user: str = "single", before: str = "") -> dict[str, str | None]:
    """What an overlay over the layers, lowest first, shows: names to contents, None for a folder."""
    folders = []
    for number, layer in enumerate(layers):
        done = unpacked(layer + END, tmp_path / f"layer{number}", form="layer", user=user, before=before)
        assert done.said == ""
        folders.append(str(done.root))
    (tmp_path / "merged").mkdir()
    command = [*(AS[user] or ["unshare"]), "--mount", sys.executable, "-c", _SHOW, str(tmp_path / "merged"), *reversed(folders)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # type: ignore[no-any-return]


BASE = folder(b"a") + file(b"a/old", b"0") + file(b"a/kept", b"0") + folder(b"a/b") + file(b"a/b/deep", b"0") + file(b"top", b"0")
ALL = {"a": None, "a/old": "0", "a/kept": "0", "a/b": None, "a/b/deep": "0", "top": "0"}


def without(*names: str) -> dict[str, str | None]:
    return {name: value for name, value in ALL.items() if not any(name == each or name.startswith(each + "/") for each in names)}


NEW_A = {**without("a"), "a": None, "a/new": "1"}
OPAQUE, NEW = file(b"a/.wh..wh..opq"), file(b"a/new", b"1")
STACKS = {
    "a whiteout hides a file": ([file(b"a/.wh.old")], without("a/old")),
    "a whiteout hides a folder": ([file(b".wh.a")], without("a")),
    "a whiteout of the root's file": ([file(b"./.wh.top")], without("top")),
    "a whiteout of what is not there": ([file(b"a/.wh.none")], ALL),
    "an opaque folder hides all that is below": ([folder(b"a") + OPAQUE + NEW], NEW_A),
    "an opaque mark counts wherever it stands": ([NEW + OPAQUE], NEW_A),
    "whiteouts of an opaque folder": ([file(b"a/.wh.old") + OPAQUE + file(b"a/.wh.kept") + NEW], NEW_A),
    "a whiteout hides nothing of its own layer": ([file(b"a/old", b"1") + file(b"a/.wh.old")], {**ALL, "a/old": "1"}),
    "nor of its own layer's folder": ([folder(b"a") + NEW + file(b".wh.a")], NEW_A),
    "a folder in a whiteout's place is new": ([file(b".wh.a") + folder(b"a") + NEW], NEW_A),
    "also where it is not named": ([file(b".wh.a") + NEW], NEW_A),
    "a file in a whiteout's place": ([file(b"a/.wh.old") + file(b"a/old", b"1")], {**ALL, "a/old": "1"}),
    "a folder in a file's place is new": ([file(b"a") + folder(b"a") + NEW], NEW_A),
    "a file hides a folder": ([file(b"a", b"1")], {**without("a"), "a": "1"}),
    "what was hidden comes back": ([file(b"a/.wh.old"), file(b"a/old", b"2")], {**ALL, "a/old": "2"}),
    "what was hidden stays so": ([file(b".wh.a"), folder(b"a") + NEW], NEW_A),
    "a whiteout below a link": ([folder(b"a") + link(b"l", b"a") + file(b"l/.wh.old")], {**without("a/old"), "l": "a"}),
    "a whiteout below a file": ([file(b"a", b"1") + file(b"a/.wh.old")], {**without("a"), "a": "1"}),
    "an opaque mark below a file": ([file(b"a", b"1") + OPAQUE], {**without("a"), "a": "1"}),
    "a whiteout below a whiteout": ([file(b".wh.a") + file(b"a/.wh.old") + OPAQUE], without("a")),
    "whiteouts twice": ([file(b"a/.wh.old") + file(b"a/.wh.old")], without("a/old")),
}


@needs("overlayfs", "tmpfs-xattrs")
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("before", FORMS)
@pytest.mark.parametrize("name", STACKS)
def test_the_stack_is_what_its_maker_saw(tmp_path: Path, name: str, before: str, user: str) -> None:
    layers, shown = STACKS[name]

    assert stacked(tmp_path, [BASE, *layers], user=user, before=before) == shown


@needs("root", "umoci", "overlayfs", "tmpfs-xattrs")
@pytest.mark.parametrize("name", [name for name in STACKS if "own layer" not in name])
def test_the_stack_is_what_umoci_makes_of_it(tmp_path: Path, name: str) -> None:
    layers, _ = STACKS[name]
    root = umoci_root(tmp_path / "umoci", [layer + END for layer in (BASE, *layers)])

    theirs = {path: shown[5].decode() if isinstance(shown[5], bytes) else shown[5] for path, shown in look(root).items()}
    assert stacked(tmp_path, [BASE, *layers], user="root") == theirs


@pytest.mark.parametrize("user", USERS)
def test_a_whiteout_is_a_device_and_an_opaque_folder_has_its_mark(tmp_path: Path, user: str) -> None:
    archive = folder(b"a") + file(b"a/.wh.x") + folder(b"b") + file(b"b/.wh..wh..opq") + END
    done = unpacked(archive, tmp_path / "root", form="layer", user=user)

    assert done.names() == {"a", "a/x", "b"}
    found = (done.root / "a" / "x").lstat()
    assert (stat.S_ISCHR(found.st_mode), found.st_rdev) == (True, 0)
    assert os.getxattr(done.root / "b", "user.overlay.opaque") == b"y"
    assert os.listxattr(done.root / "a") == []


@needs("user-namespaces", "libseccomp")
def test_where_no_device_can_be_made_a_whiteout_is_a_file_with_a_mark(tmp_path: Path) -> None:
    done = unpacked(file(b"a/.wh.x") + END, tmp_path / "root", form="layer", before=NO_MKNOD)

    assert (done.root / "a" / "x").read_bytes() == b""
    assert os.listxattr(done.root / "a" / "x") == ["user.overlay.whiteout"]
    assert os.getxattr(done.root / "a", "user.overlay.opaque") == b"x"


@pytest.mark.security
@pytest.mark.parametrize("user", USERS)
def test_no_mark_of_overlayfs_comes_in_by_itself(tmp_path: Path, user: str) -> None:
    marks = (b"user.overlay.opaque", b"trusted.overlay.opaque", b"user.overlay.whiteout", b"user.overlay.lxsandbox.implied")
    smuggled = [(b"SCHILY.xattr." + name, b"y") for name in marks]

    done = unpacked(
        pax(*smuggled, (b"SCHILY.xattr.user.overlay.redirect", b"/etc")) + folder(b"a") + pax(*smuggled) + file(b"a/x") + END,
        tmp_path / "root", form="layer", user=user,
    )  # fmt: skip

    assert done.said == ""
    assert os.listxattr(done.root / "a") == os.listxattr(done.root / "a" / "x") == []


@needs("user-namespaces")
def test_a_hard_link_into_another_layer_is_named(tmp_path: Path) -> None:
    done = unpacked(hard_link(b"x", b"lower/file") + END, tmp_path / "root", form="layer")

    assert done.said == "entry 'x': is a hard link to 'lower/file', which the archive has not brought before"
