"""Folders of which a layer says nothing are as the nearest lower layer has them, in the one layer that is put on top for that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from images.unpack.making import END, file, folder, link, pax
from images.unpack.test_equality import umoci_root
from images.unpack.unpacking import AS, RUNTIME, Looked, look, unpacked
from needs import needs

from lxsandbox.images.unpack import has_implied

pytestmark = needs("tmpfs-xattrs")
USERS = [pytest.param("root", marks=needs("root")), pytest.param("single", marks=needs("user-namespaces"))]
_INHERIT = """
import sys
sys.path.insert(0, sys.argv[1])
from lxsandbox.images.unpack import inherit
inherit(sys.argv[3:], sys.argv[2])
"""


def inherited(tmp_path: Path, layers: list[bytes], user: str) -> Looked:
    """What is in the layer that is put over `layers` (lowest first), all unpacked by one of AS."""
    folders = []
    for number, layer in enumerate(layers):
        done = unpacked(layer + END, tmp_path / f"layer{number}", form="layer", user=user)
        assert done.said == ""
        folders.append(str(done.root))
    (tmp_path / "made").mkdir()
    command = [*AS[user], sys.executable, "-I", "-c", _INHERIT, RUNTIME, str(tmp_path / "made"), *reversed(folders)]
    subprocess.run(command, check=True)
    return look(tmp_path / "made")


def modes(made: Looked) -> dict[str, int]:
    return {name: int(str(shown[0])) & 0o7777 for name, shown in made.items()}


_SHOW = """
import json, os, subprocess, sys
merged, *layers = sys.argv[1:]
subprocess.run(["mount", "-t", "overlay", "overlay", "-o", "ro,userxattr,lowerdir=" + ":".join(layers), merged], check=True)
below = [os.path.join(folder, name) for folder, names, _ in os.walk(merged) for name in names]
shown = {os.path.relpath(path, merged): (os.lstat(path).st_mode & 0o7777, os.listxattr(path)) for path in below}
print(json.dumps(shown))
"""


def shown_over(tmp_path: Path, layers: int) -> dict[str, list[object]]:
    """The folders that an overlay has of all that `inherited` has made of so many layers: modes, and names of attributes."""
    (tmp_path / "merged").mkdir()
    folders = [str(tmp_path / "made"), *(str(tmp_path / f"layer{number}") for number in reversed(range(layers)))]
    command = ["unshare", "--mount", sys.executable, "-I", "-c", _SHOW, str(tmp_path / "merged"), *folders]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # type: ignore[no-any-return]


A = folder(b"a", mode=0o751) + folder(b"a/b", mode=0o700)
DEEP, WHITEOUT, OPAQUE = file(b"a/b/new"), file(b".wh.a"), file(b"a/.wh..wh..opq")
STACKS = {
    "all that are implied": ([A, DEEP], {"a": 0o751, "a/b": 0o700}),
    "also by a whiteout": ([A, file(b"a/b/.wh.x")], {"a": 0o751, "a/b": 0o700}),
    "none that lower layers lack": ([A, file(b"a/c/new")], {"a": 0o751}),
    "none where there is no lower layer": ([DEEP], {}),
    "none that the layer itself names": ([A, folder(b"a", mode=0o711) + folder(b"a/b", mode=0o711) + DEEP], {}),
    "none that it names later": ([A, DEEP + folder(b"a/b", mode=0o711) + folder(b"a", mode=0o711)], {}),
    "one in a folder that is named": ([A, folder(b"a", mode=0o711) + DEEP], {"a": 0o711, "a/b": 0o700}),
    "as the nearest that names them": ([A, folder(b"a", mode=0o711), DEEP], {"a": 0o711, "a/b": 0o700}),
    "through others that imply them": ([A, DEEP, file(b"a/b/more")], {"a": 0o751, "a/b": 0o700}),
    "none that a higher layer names": ([A, DEEP, A], {}),
    "none that a higher layer hides": ([A, DEEP, WHITEOUT], {}),
    "none over a whiteout": ([A, WHITEOUT, DEEP], {}),
    "none over the layer's own whiteout": ([A, WHITEOUT + DEEP], {}),
    "none over a file": ([A, file(b"a"), DEEP], {}),
    "none over a link": ([A + folder(b"c", mode=0o700), link(b"a", b"c"), DEEP], {}),
    "none within one that is opaque": ([A, folder(b"a", mode=0o711) + OPAQUE, DEEP], {"a": 0o711}),
    "an opaque one is itself as before": ([A, OPAQUE + DEEP], {"a": 0o751}),
}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", STACKS)
def test_it_has_the_folders_that_upper_layers_imply_and_lower_ones_name(tmp_path: Path, name: str, user: str) -> None:
    layers, expected = STACKS[name]

    assert modes(inherited(tmp_path, layers, user)) == expected


@needs("root", "umoci", "overlayfs")
@pytest.mark.parametrize("name", [name for name in STACKS if name not in ("none over a file", "none over a link")])
def test_under_it_the_stack_has_the_modes_that_umoci_gives(tmp_path: Path, name: str) -> None:
    layers, _ = STACKS[name]
    root = umoci_root(tmp_path / "umoci", [layer + END for layer in layers])
    theirs = {path: [mode, []] for path, mode in modes(look(root)).items() if (root / path).is_dir()}

    inherited(tmp_path, layers, "root")

    assert shown_over(tmp_path, len(layers)) == theirs


@pytest.mark.parametrize("user", USERS)
def test_they_have_owner_time_and_attributes_and_no_mark(tmp_path: Path, user: str) -> None:
    attribute = pax((b"SCHILY.xattr.user.x", b"y"), (b"mtime", b"1000000000.123456789"))

    made = inherited(tmp_path, [attribute + folder(b"a", mode=0o1751, uid=7, gid=8), DEEP], user)

    below = (tmp_path / "layer0" / "a").stat()
    mode, uid, gid, mtime_ns, _, _, xattrs, _ = made["a"]
    assert (mode, uid, gid) == (0o041751, below.st_uid, below.st_gid)
    assert (user == "single") == (uid == os.geteuid())
    assert (mtime_ns, xattrs) == (1_000_000_000_123_456_789, {"user.x": b"y"})


@needs("user-namespaces")
@pytest.mark.parametrize("archive", [A, A + DEEP, DEEP + A], ids=["nothing in them", "named before", "named after"])
def test_a_layer_that_names_its_folders_has_no_mark(tmp_path: Path, archive: bytes) -> None:
    root = unpacked(archive + END, tmp_path / "root", form="layer").root

    assert not has_implied(str(root))
    assert os.listxattr(root) == os.listxattr(root / "a") == os.listxattr(root / "a" / "b") == []


@needs("user-namespaces")
def test_a_root_of_its_own_has_no_mark(tmp_path: Path) -> None:
    root = unpacked(DEEP + END, tmp_path / "root", form="root").root

    assert os.listxattr(root) == os.listxattr(root / "a") == []
