"""Owners, modes, times and extended attributes: what is kept, what is never taken from an archive, and what errors name."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from images.unpack.making import END, device, entry, file, folder, global_pax, hard_link, link, pax
from images.unpack.unpacking import unpacked
from needs import needs

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # VFS_CAP_REVISION_2, CAP_NET_RAW
USERS = [pytest.param("root", marks=needs("root")), pytest.param("single", marks=needs("user-namespaces"))]


def xattr(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    return b"SCHILY.xattr." + name, value


def xattrs(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}


FOREIGN = [
    b"trusted.overlay.opaque", b"trusted.x", b"user.overlay.opaque", b"user.overlay.redirect", b"user.overlay.whiteout",
    b"user.overlay.metacopy", b"security.selinux", b"security.ima", b"security.evm", b"security.apparmor", b"system.x", b"x", b"",
    b"user%2Eoverlay.opaque", b"%25user.x", b"user.overlay.%3D",
]  # fmt: skip


@pytest.mark.security
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("form", ["root", "layer"])
def test_attributes_that_mean_something_to_the_host_or_to_overlayfs_are_left_out(tmp_path: Path, user: str, form: str) -> None:
    records = pax(*(xattr(name, b"y") for name in FOREIGN), xattr(b"user.kept", b"a\0b\n="))
    archive = records + file(b"file") + records + folder(b"folder") + records + entry(b"fifo", b"6") + records + link(b"l", b"x")

    done = unpacked(archive + END, tmp_path / "root", form=form, user=user)

    assert done.said == ""
    for name, kept in (("file", True), ("folder", True), ("fifo", False), ("l", False)):
        assert xattrs(done.root / name) == ({"user.kept": b"a\0b\n="} if kept else {})


@needs("user-namespaces")
def test_attributes_may_be_empty_and_have_equals_signs_in_their_names(tmp_path: Path) -> None:
    records = pax(xattr(b"user.empty", b""), xattr(b"user.a%3Db%253D", b"y"))

    done = unpacked(records + file(b"x") + END, tmp_path / "root")

    assert xattrs(done.root / "x") == {"user.empty": b"", "user.a=b%3D": b"y"}


@needs("user-namespaces")
def test_an_empty_record_takes_a_global_attribute_away(tmp_path: Path) -> None:
    archive = global_pax(xattr(b"user.a", b"y")) + file(b"x") + pax(xattr(b"user.a", b"")) + file(b"z") + END

    done = unpacked(archive, tmp_path / "root")

    assert (xattrs(done.root / "x"), xattrs(done.root / "z")) == ({"user.a": b"y"}, {})


@needs("root")
def test_capabilities_of_files_are_kept(tmp_path: Path) -> None:
    archive = pax(xattr(b"security.capability", CAPABILITY)) + file(b"ping", b"content", mode=0o755, uid=5)

    done = unpacked(archive + END, tmp_path / "root", user="root")

    assert xattrs(done.root / "ping") == {"security.capability": CAPABILITY}
    assert (done.root / "ping").stat().st_uid == 5


@needs("user-namespaces")
def test_capabilities_of_files_are_those_of_the_namespace_for_a_plain_user(tmp_path: Path) -> None:
    archive = pax(xattr(b"security.capability", CAPABILITY)) + file(b"ping", b"content", mode=0o755)

    done = unpacked(archive + END, tmp_path / "root")

    assert done.said == ""
    kept = os.getxattr(done.root / "ping", "security.capability")
    if os.geteuid() != 0:  # version 3: with the id of the namespace's root (capabilities(7))
        assert (kept[3], int.from_bytes(kept[20:], "little")) == (3, os.geteuid())


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (b"security.capability", b"junk", "Invalid argument"),
        (b"user." + b"x" * 300, b"y", "out of range"),
        (b"user.x", b"y" * 70_000, "too long"),
    ],
)
def test_an_attribute_that_makes_no_sense_is_named(tmp_path: Path, user: str, name: bytes, value: bytes, said: str) -> None:
    done = unpacked(pax(xattr(name, value)) + file(b"x") + END, tmp_path / "root", user=user)

    assert done.said.startswith(f"entry 'x': its attribute '{name[:20].decode()}")
    assert said in done.said


@needs("root")
def test_owners_and_bits_of_mode_are_as_the_archive_says(tmp_path: Path) -> None:
    archive = (
        file(b"suid", b"x", mode=0o106755, uid=1000, gid=2000)  # with the bits of its type, as v7 had them
        + pax((b"uid", b"4294967294")) + file(b"last")
        + folder(b"f", mode=0o1777, uid=3, gid=4) + file(b"f/in") + link(b"l", b"suid", uid=7, gid=8)
        + entry(b"p", b"6", uid=9, mode=0o600) + device(b"null", 1, 3)
    )  # fmt: skip

    done = unpacked(archive + END, tmp_path / "root", user="root")

    assert done.said == ""
    shown = {name: (done.root / name).lstat() for name in done.names()}
    assert {name: (now.st_uid, now.st_gid, now.st_mode) for name, now in shown.items()} == {
        "suid": (1000, 2000, stat.S_IFREG | 0o6755), "last": (4294967294, 0, stat.S_IFREG | 0o644),
        "f": (3, 4, stat.S_IFDIR | 0o1777), "f/in": (0, 0, stat.S_IFREG | 0o644), "l": (7, 8, stat.S_IFLNK | 0o777),
        "p": (9, 0, stat.S_IFIFO | 0o600), "null": (0, 0, stat.S_IFCHR | 0o644),
    }  # fmt: skip


@needs("plain-user", "id-range")
def test_with_a_range_of_ids_an_owner_beyond_it_is_named(tmp_path: Path) -> None:
    done = unpacked(file(b"x", uid=60_000) + file(b"y", gid=70_000) + END, tmp_path / "root", user="range")

    assert done.said == "entry 'y': its owner 0:70000 is beyond the ids that are mapped here"
    unpacked(b"", tmp_path / "clean-up", user="range", before=_removal(tmp_path / "root"))


def _removal(root: Path) -> str:
    return f"import shutil; shutil.rmtree({str(root)!r})"


@needs("user-namespaces")
def test_with_a_single_id_all_belongs_to_it(tmp_path: Path) -> None:
    archive = file(b"x", uid=1000, gid=70_000) + folder(b"f", uid=5) + link(b"l", b"x", uid=6) + hard_link(b"h", b"x")

    done = unpacked(archive + END, tmp_path / "root")

    assert done.said == ""
    assert {((done.root / name).lstat().st_uid, (done.root / name).lstat().st_gid) for name in "xflh"} == {
        (os.geteuid(), os.getegid())
    }


@needs("user-namespaces")
def test_devices_are_left_out_where_they_cannot_be_made(tmp_path: Path) -> None:
    done = unpacked(device(b"null", 1, 3) + device(b"disk", 8, 0, b"4") + file(b"x") + END, tmp_path / "root")

    assert done.said == ""
    assert done.names() == {"x"}


@pytest.mark.parametrize("user", USERS)
def test_folders_get_their_times_and_modes_last(tmp_path: Path, user: str) -> None:
    archive = (
        folder(b"f", mode=0o500, mtime=100)
        + folder(b"f/g", mode=0o555, mtime=200)
        + file(b"f/g/x", mtime=300)
        + file(b"f/y", mtime=400)
    )

    done = unpacked(archive + END, tmp_path / "root", user=user)

    shown = {name: (done.root / name).stat() for name in ("f", "f/g", "f/g/x", "f/y")}
    assert {name: now.st_mtime for name, now in shown.items()} == {"f": 100, "f/g": 200, "f/g/x": 300, "f/y": 400}
    assert (shown["f"].st_mode & 0o7777, shown["f/g"].st_mode & 0o7777) == (0o500, 0o555)
    (done.root / "f").chmod(0o700)
    (done.root / "f" / "g").chmod(0o700)


@needs("user-namespaces")
def test_of_two_entries_for_a_folder_the_last_counts_by_whatever_path(tmp_path: Path) -> None:
    archive = (
        folder(b"usr/lib", mode=0o700, mtime=1)
        + link(b"lib", b"usr/lib")
        + folder(b"lib/x", mtime=2)
        + folder(b"usr/lib/x", mtime=3)
    )

    done = unpacked(archive + folder(b"usr/lib", mtime=4, mode=0o711) + END, tmp_path / "root")

    assert (done.root / "usr/lib").stat().st_mtime == 4
    assert (done.root / "usr/lib").stat().st_mode & 0o777 == 0o711
    assert (done.root / "usr/lib/x").stat().st_mtime == 3


@needs("user-namespaces")
def test_what_a_folder_was_to_get_is_not_given_to_what_has_replaced_it(tmp_path: Path) -> None:
    archive = (
        folder(b"other/f", mode=0o755, mtime=7) + folder(b"a/f", mode=0o700, mtime=1) + file(b"b") + folder(b"c", mode=0o700)
        + link(b"a", b"other") + link(b"c", b"other")
    )  # fmt: skip

    done = unpacked(archive + END, tmp_path / "root")

    assert done.said == ""
    assert (done.root / "other/f").stat().st_mtime == 7
    assert (done.root / "other").stat().st_mode & 0o777 == 0o755
