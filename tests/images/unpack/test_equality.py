"""What an archive holds is unpacked as GNU tar and umoci unpack it: content, type, owner, mode, times, links and attributes."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from images.unpack.unpacking import look, unpacked
from needs import needs
from rootfs_real.busybox import make_root

pytestmark = needs("busybox")

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # VFS_CAP_REVISION_2, CAP_NET_RAW
ACL = bytes.fromhex("0200000001000600ffffffff020004002100000004000400ffffffff10000600ffffffff20000400ffffffff")  # u:33:r
XATTRS = ["--xattrs", "--xattrs-include=*"]
FORMATS = {
    "gnu": ["--format=gnu"],
    "oldgnu": ["--format=oldgnu"],
    "pax": ["--format=pax", *XATTRS],
    "ustar": ["--format=ustar", "--exclude=long*", "--exclude=nnn*"],
    "v7": ["--format=v7", "--exclude=long*", "--exclude=nnn*", "--exclude=node*"],
    "sparse": ["--format=gnu", "--sparse"],
    "sparse 0.0": ["--format=pax", "--sparse", "--sparse-version=0.0"],
    "sparse 0.1": ["--format=pax", "--sparse", "--sparse-version=0.1"],
    "sparse 1.0": ["--format=pax", "--sparse", "--sparse-version=1.0"],
}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A root with one of everything that this user can make."""
    root = make_root(tmp_path / "tree")
    (root / "etc").mkdir()
    (root / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (root / ("n" * 150)).write_text("long name")
    (root / "long-link").symlink_to("x" * 200)
    (root / "dangling").symlink_to("/no/such")
    (root / "ünï").write_bytes(b"\0" * 5000)
    os.link(root / "etc" / "passwd", root / "etc" / "hard")
    os.mkfifo(root / "node-fifo")
    (root / "setuid").write_text("x")
    (root / "setuid").chmod(0o6751)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    (root / "closed").mkdir()
    (root / "closed" / "file").write_text("x")
    _make_sparse(root / "holes")
    os.setxattr(root / "etc", "user.folder", b"a\0b\n")
    os.setxattr(root / "etc" / "passwd", "user.file", b"\xff")
    os.setxattr(root / "etc" / "passwd", "user.a=b%3D", b"")
    if os.geteuid() == 0:
        _add_what_root_can(root)
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, 1_600_000_000_123_456_789 + number * 10**9), follow_symlinks=False)
    (root / "closed").chmod(0o500)
    yield root
    (root / "closed").chmod(0o700)


def _make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        for number in range(60):  # more pieces than one block of a map has room for
            file.seek(number * 65536)
            file.write(b"%d" % number)
        file.truncate(60 * 65536 + 4096)


def _add_what_root_can(root: Path) -> None:
    os.mknod(root / "node-null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "node-disk", stat.S_IFBLK | 0o660, os.makedev(8, 300))
    os.chown(root / "node-disk", 0, 6)
    os.chown(root / "etc" / "passwd", 1000, 70_000)
    os.chown(root / "dangling", 1, 2, follow_symlinks=False)
    os.chown(root / "closed", 5, 6)
    (root / "ping").write_text("x")
    os.setxattr(root / "ping", "security.capability", CAPABILITY)
    os.setxattr(root / "bin", "system.posix_acl_default", ACL)
    os.setxattr(root / "setuid", "system.posix_acl_access", ACL)


def _archive(tree: Path, *options: str) -> bytes:
    return subprocess.run(
        ["tar", "--numeric-owner", "--sort=name", *options, "-C", str(tree), "-cf", "-", "."], check=True, capture_output=True
    ).stdout


@needs("root", "tar")
@pytest.mark.parametrize("name", FORMATS)
def test_a_root_is_as_tar_unpacks_it(tmp_path: Path, tree: Path, name: str) -> None:
    archive = _archive(tree, *FORMATS[name])
    (tmp_path / "by-tar").mkdir()
    subprocess.run(["tar", *XATTRS, "--numeric-owner", "-C", tmp_path / "by-tar", "-xpf", "-"], input=archive, check=True)

    done = unpacked(archive, tmp_path / "ours", user="root")

    assert done.said == ""
    ours = look(done.root)
    assert len(ours) > 25
    assert ours == look(tmp_path / "by-tar")


@needs("root", "tar")
def test_a_root_comes_back_whole(tmp_path: Path, tree: Path) -> None:
    done = unpacked(_archive(tree, *FORMATS["pax"]), tmp_path / "ours", user="root")

    assert look(done.root) == look(tree)


@needs("user-namespaces", "tar")
def test_with_a_single_id_all_is_as_it_was_but_owners_devices_and_lists_of_access(tmp_path: Path, tree: Path) -> None:
    done = unpacked(_archive(tree, *FORMATS["pax"]), tmp_path / "ours", user="single")

    assert done.said == ""
    ours, original = look(done.root), look(tree)
    assert set(original) - set(ours) <= {"node-null", "node-disk"}
    owner = (os.geteuid(), os.getegid())
    for name, (mode, uid, gid, *rest) in ours.items():
        kept = {key: value for key, value in rest[3].items() if key.startswith("user.")}
        theirs = {key: value for key, value in original[name][6].items() if key.startswith("user.")}  # type: ignore[attr-defined]
        assert (uid, gid) == owner
        # Without the list, what it let a user do is what the group may: a mode that a list has cannot be had without.
        assert (mode, *rest[:3], kept, rest[4]) == (original[name][0], *original[name][3:6], theirs, original[name][7]), name


@needs("tar")
@pytest.mark.parametrize("name", [name for name in FORMATS if name.startswith("sparse")])
@pytest.mark.parametrize(
    "user", [pytest.param("root", marks=needs("root")), pytest.param("single", marks=needs("user-namespaces"))]
)
def test_holes_stay_holes(tmp_path: Path, tree: Path, name: str, user: str) -> None:
    done = unpacked(_archive(tree, *FORMATS[name]), tmp_path / "ours", user=user)

    assert (done.root / "holes").read_bytes() == (tree / "holes").read_bytes()
    assert (done.root / "holes").stat().st_blocks * 512 <= 60 * 4096


@needs("root", "umoci", "tar")
def test_a_layer_is_as_umoci_unpacks_it(tmp_path: Path, tree: Path) -> None:
    os.removexattr(tree / "etc" / "passwd", "user.a=b%3D")  # umoci drops what is empty, and takes GNU's spelling for the name
    archive = _archive(tree, *FORMATS["pax"])

    done = unpacked(archive, tmp_path / "ours", form="layer", user="root")

    assert done.said == ""
    assert look(done.root) == look(umoci_root(tmp_path / "umoci", [archive]))


def umoci_root(folder: Path, layers: list[bytes]) -> Path:
    """What umoci makes of an image of these layers."""
    folder.mkdir()
    image, bundle = f"{folder / 'image'}:tag", folder / "bundle"
    for command in (["init", "--layout", str(folder / "image")], ["new", "--image", image]):
        subprocess.run(["umoci", *command], check=True, capture_output=True)
    for number, layer in enumerate(layers):
        (folder / f"{number}.tar").write_bytes(layer)
        command = ["umoci", "raw", "add-layer", "--image", image, str(folder / f"{number}.tar")]
        subprocess.run(command, check=True, capture_output=True)
    subprocess.run(["umoci", "unpack", "--image", image, str(bundle)], check=True, capture_output=True)
    return bundle / "rootfs"
