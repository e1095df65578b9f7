"""A layer is what was changed, as the OCI image specification's layer.md has it, and the same whenever it is packed."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from images.trees import archive, layer, opaque, opened, whiteout
from needs import needs

from lxsandbox.images import pack
from lxsandbox.images.walk import Upper


class Sink(io.BytesIO):
    """Does something once, when it is first written to."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act: Callable[[], object] | None = act

    def write(self, data: object) -> int:
        act, self.act = self.act, None
        if act is not None:
            act()
        return super().write(data)  # type: ignore[arg-type]


def test_a_file_is_packed_with_all_that_belongs_to_it(upper: Path) -> None:
    file = upper / "file"
    file.write_bytes(b"content\0\xff")
    file.chmod(0o4751)
    os.setxattr(file, "user.mine", b"\0\xff=\n")
    os.setxattr(file, "user.a=b", b"")
    os.setxattr(file, "user.overlay.origin", b"the kernel's")
    os.utime(file, ns=(0, 1_234_567_890_123_456_789))

    with tarfile.open(fileobj=io.BytesIO(archive(upper)), mode="r:") as packed:
        (member,) = packed.getmembers()
        content = packed.extractfile(member)
        assert content is not None
        assert content.read() == b"content\0\xff"

    assert (member.name, member.mode, member.uid, member.gid) == ("file", 0o4751, os.getuid(), os.stat(file).st_gid)
    records = {key: value.encode("utf-8", "surrogateescape") for key, value in member.pax_headers.items()}
    assert records == {
        "mtime": b"1234567890.123456789",
        "SCHILY.xattr.user.mine": b"\0\xff=\n",
        "SCHILY.xattr.user.a%3Db": b"",
    }


def test_every_kind_of_file_is_packed_but_sockets(upper: Path) -> None:
    (upper / "folder").mkdir(mode=0o1750)
    (upper / "link").symlink_to("../anywhere")
    os.mkfifo(upper / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as sock:
        folder = os.open(upper, os.O_RDONLY)
        sock.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)

    found = layer(upper)

    assert {name: member.type for name, member in found.items()} == {
        "folder": tarfile.DIRTYPE,
        "link": tarfile.SYMTYPE,
        "fifo": tarfile.FIFOTYPE,
    }
    assert found["link"].linkname == "../anywhere"
    assert (found["folder"].mode, found["fifo"].mode) == (0o1750, 0o640)


@needs("root")
def test_devices_and_owners_are_packed(upper: Path) -> None:
    os.mknod(upper / "null", 0o020666, os.makedev(1, 3))
    os.mknod(upper / "disk", 0o060600, os.makedev(259, 1000))
    os.chown(upper / "null", 5, 3_000_000)

    found = layer(upper)

    assert (found["null"].type, found["disk"].type) == (tarfile.CHRTYPE, tarfile.BLKTYPE)
    assert (found["null"].devmajor, found["null"].devminor) == (1, 3)
    assert (found["disk"].devmajor, found["disk"].devminor) == (259, 1000)
    assert (found["null"].uid, found["null"].gid) == (5, 3_000_000)


def test_a_file_of_several_names_is_packed_once(upper: Path) -> None:
    (upper / "a").write_text("content")
    (upper / "z").mkdir()
    os.link(upper / "a", upper / "b")
    os.link(upper / "a", upper / "z" / "c")

    found = layer(upper)

    assert [found[name].type for name in ("a", "b", "z/c")] == [tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.LNKTYPE]
    assert (found["b"].linkname, found["z/c"].linkname) == ("a", "a")


def test_what_is_gone_becomes_whiteouts_before_what_is_beside_them(upper: Path, lower: Path) -> None:
    for name in ("a", "z", "anew"):
        (lower / name).mkdir()
        (lower / name / "file").touch()
    (upper / "b").touch()
    whiteout(upper / "z")
    (opaque(upper / "anew") / "new").touch()
    (opaque(upper / "only") / "new").touch()  # the kernel marks every new folder: there is nothing to hide

    assert list(layer(upper, lower)) == [".wh.z", "anew", "anew/.wh..wh..opq", "anew/new", "b", "only", "only/new"]


def test_a_whiteout_is_the_same_whenever_it_is_made(upper: Path, lower: Path) -> None:
    (lower / "a").touch()
    whiteout(upper / "a")

    member = layer(upper, lower)[".wh.a"]

    assert (member.size, member.mtime, member.mode, member.uid, member.gid) == (0, 0, 0o644, 0, 0)


def test_what_a_socket_replaced_is_gone(upper: Path, lower: Path) -> None:
    (lower / "socket").touch()
    with socket.socket(socket.AF_UNIX) as sock:
        folder = os.open(upper, os.O_RDONLY)
        sock.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)

    assert list(layer(upper, lower)) == [".wh.socket"]


def test_a_device_that_would_be_a_whiteout_once_unpacked_is_left_out(upper: Path) -> None:
    whiteout(upper / "device")
    out = io.BytesIO()

    with ExitStack() as stack:  # with nothing below it is the sandbox's own file
        pack.write_layer([Upper("/", opened(stack, upper, [], {}).fd, [], {})], out)

    with tarfile.open(fileobj=io.BytesIO(out.getvalue()), mode="r:") as packed:
        assert set(packed.getnames()) <= {"."}


def test_folders_are_packed_before_what_was_changed_in_them_and_else_not(upper: Path, lower: Path) -> None:
    for tree in (upper, lower):
        for name in ("a/b/c", "d/e"):
            (tree / name).mkdir(parents=True)
            (tree / name).chmod(0o711)
    (upper / "a" / "b" / "c" / "new").touch()

    found = layer(upper, lower)

    assert list(found) == ["a", "a/b", "a/b/c", "a/b/c/new"]
    assert found["a/b/c"].mode == 0o711


def test_what_shows_elsewhere_is_packed_there_with_its_own_folder(upper: Path, lower: Path) -> None:
    (upper / "new").touch()
    (lower / "old").touch()
    whiteout(upper / "old")

    assert list(layer(upper, lower, target="/srv/data")) == ["srv/data", "srv/data/.wh.old", "srv/data/new"]


def test_a_top_that_was_changed_is_packed_too(upper: Path, lower: Path) -> None:
    upper.chmod(0o711)

    (member,) = layer(upper, lower).values()
    assert (member.name, member.mode) == (".", 0o711)


def test_equal_trees_make_equal_layers(tmp_path: Path) -> None:
    layers = []
    for number, names in enumerate(("abc", "cba")):
        tree = tmp_path / str(number)
        tree.mkdir()
        for name in names:
            (tree / name).write_text(name)
            for attribute in names:
                os.setxattr(tree / name, f"user.{attribute}", b"")
            os.utime(tree / name, ns=(number, 5))
        os.utime(tree, ns=(number, 5))
        layers.append(archive(tree))

    assert layers[0] == layers[1]


@pytest.mark.parametrize("name", ["new\nline", "\udcff\udc80", "ä", "n" * 255, "-rf", " ", "a=b", "123 path=x\n"])
def test_any_name_is_packed_as_it_is(upper: Path, name: str) -> None:
    (upper / name).write_text("content")
    (upper / "link").symlink_to(name)

    packed = archive(upper)
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as members:
        assert set(members.getnames()) == {name, "link"}
        assert members.getmember("link").linkname == name
    assert (b"hdrcharset=BINARY" in packed) == ("\udcff" in name)


def test_names_that_only_an_extended_header_holds_are_packed(upper: Path) -> None:
    folder = upper
    for _ in range(15):
        folder = folder / ("d" * 250)
    folder.mkdir(parents=True)
    (folder / "file").symlink_to("t" * 4095)

    found = layer(upper)

    assert list(found)[-1] == str((folder / "file").relative_to(upper))
    assert found[list(found)[-1]].linkname == "t" * 4095


@needs("tar")
def test_what_tar_unpacks_is_what_was_packed(upper: Path, tmp_path: Path) -> None:
    (upper / "a" / "b").mkdir(parents=True)
    for number in range(20):
        (upper / "a" / f"file{number}").write_bytes(os.urandom(number * 100))
        os.utime(upper / "a" / f"file{number}", ns=(number, number * 1_000_000_001))
    (upper / "a" / "empty").touch(mode=0o600)
    os.link(upper / "a" / "empty", upper / "a" / "b" / "other")
    (upper / "a" / "line\nbreak").symlink_to("\udcff")
    os.setxattr(upper / "a" / "empty", "user.mine", b"\0\1")
    (tmp_path / "unpacked").mkdir()

    command = ["tar", "-x", "--xattrs", "--xattrs-include=*", "-p", "-C", tmp_path / "unpacked"]
    subprocess.run(command, input=archive(upper), check=True)

    def look(top: Path) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for path in sorted(top.rglob("*")):
            now = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            attributes = {} if path.is_symlink() else {name: os.getxattr(path, name) for name in os.listxattr(path)}
            found.append((path.relative_to(top), now.st_mode, now.st_uid, now.st_nlink, now.st_mtime_ns, content, attributes))
        return found

    assert look(tmp_path / "unpacked") == look(upper)


@pytest.mark.parametrize("name", [".wh.file", ".wh..wh..opq", ".wh...", ".wh."])
def test_a_name_that_would_be_taken_for_a_whiteout_is_refused(upper: Path, name: str) -> None:
    (upper / "a").mkdir()
    (upper / "a" / name).touch()

    with pytest.raises(ValueError, match=rf"'/a/{name.replace('.', '[.]')}'.*keeps names"):
        archive(upper)


def test_a_path_that_nothing_can_unpack_is_refused(upper: Path) -> None:
    folder = os.open(upper, os.O_RDONLY)
    for _ in range(17):
        os.mkdir("d" * 250, dir_fd=folder)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)

    with pytest.raises(ValueError, match="4266 bytes"):
        archive(upper)


def test_a_file_of_holes_is_refused_before_it_is_written(upper: Path) -> None:
    with (upper / "holes").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(ValueError, match=r"'/holes'.*holes"):
        archive(upper)


def test_small_holes_are_packed_as_zeros(upper: Path) -> None:
    with (upper / "holes").open("wb") as file:
        file.truncate(1 << 20)

    assert layer(upper)["holes"].size == 1 << 20


def test_a_file_that_becomes_shorter_meanwhile_is_an_error(upper: Path) -> None:
    (upper / "file").write_bytes(bytes(3 << 20))

    with pytest.raises(ValueError, match="'/file' became shorter"):
        archive(upper, out=Sink(lambda: os.truncate(upper / "file", 1)))


def test_what_is_swapped_for_a_link_meanwhile_is_not_followed(upper: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (upper / "a").touch()
    (upper / "b").mkdir()
    (upper / "b" / "secret").touch()
    (upper / "c").touch()

    def swap() -> None:
        (upper / "b").rename(upper / "moved")
        (upper / "b").symlink_to(tmp_path / "outside")
        (upper / "c").unlink()
        (upper / "c").symlink_to(tmp_path / "outside" / "secret")

    packed = archive(upper, out=Sink(swap))

    assert b"secret" not in packed.replace(str(tmp_path).encode() + b"/outside/secret", b"")


def test_a_fifo_in_place_of_a_file_does_not_block(upper: Path) -> None:
    (upper / "a").touch()
    (upper / "b").touch()

    def swap() -> None:
        (upper / "b").unlink()
        os.mkfifo(upper / "b")

    with tarfile.open(fileobj=io.BytesIO(archive(upper, out=Sink(swap))), mode="r:") as packed:
        assert packed.getmember("b").type == tarfile.FIFOTYPE
