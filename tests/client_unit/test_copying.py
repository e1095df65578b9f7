from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lxsandbox.errors import SandboxError


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def make_tree(top: Path) -> None:
    (top / "sub").mkdir(parents=True)
    (top / "sub/run.sh").write_text("#!/bin/sh\n")
    (top / "sub/run.sh").chmod(0o750)
    (top / "link").symlink_to("/etc/passwd")
    os.utime(top / "sub/run.sh", ns=(10**18, 10**18))
    os.utime(top / "sub", ns=(10**18, 10**18))


def described(top: Path) -> dict[str, object]:
    """Every path below `top`: a link's target, else its mode and time."""
    return {
        str(path.relative_to(top)): os.readlink(path) if path.is_symlink() else (path.stat().st_mode, path.stat().st_mtime_ns)
        for path in top.rglob("*")
    }


def test_a_tree_goes_in_and_comes_out_as_it_was(box, tmp_path, root, out):
    make_tree(tmp_path / "tree")

    box.copy_in(tmp_path / "tree", "/")
    box.copy_out("/tree", out)

    assert described(root / "tree") == described(tmp_path / "tree") == described(out / "tree")


def test_a_file_goes_to_a_name_or_into_a_folder(box, tmp_path, root, out):
    (tmp_path / "a").write_text("a")
    (root / "dir").mkdir()

    box.copy_in(tmp_path / "a", "/b")
    box.copy_in(tmp_path / "a", "/dir")
    box.copy_out("/b", out / "c")
    box.copy_out("/dir/a", out)

    assert [path.read_text() for path in (root / "b", root / "dir/a", out / "c", out / "a")] == ["a"] * 4


def test_a_hundred_megabytes_keep_their_content_and_their_holes(box, tmp_path, root, out):
    with open(tmp_path / "big", "wb") as file:
        file.write(b"begin")
        file.truncate(100 * 2**20)
        file.seek(0, os.SEEK_END)
        file.write(b"end")

    box.copy_in(tmp_path / "big", "/big")
    box.copy_out("/big", out)

    assert (out / "big").stat().st_size == 100 * 2**20 + 3
    assert (out / "big").stat().st_blocks * 512 < 2**20
    with open(out / "big", "rb") as file:
        assert file.read(5) == b"begin"
        file.seek(-3, os.SEEK_END)
        assert file.read() == b"end"


def test_what_is_there_is_replaced_and_a_link_there_is_not_followed(box, root, out, tmp_path):
    (root / "dir").mkdir()
    (root / "dir/victim").write_text("from the sandbox")
    (tmp_path / "canary").write_text("canary")
    (out / "dir").mkdir()
    (out / "dir/victim").symlink_to(tmp_path / "canary")

    box.copy_out("/dir", out)

    assert (tmp_path / "canary").read_text() == "canary"
    assert (out / "dir/victim").read_text() == "from the sandbox"


def test_a_folder_that_is_a_link_on_the_host_is_not_entered(box, root, out, tmp_path):
    (root / "dir/sub").mkdir(parents=True)
    (root / "dir/sub/file").write_text("x")
    (out / "dir").mkdir()
    (out / "dir/sub").symlink_to(tmp_path)

    with pytest.raises(OSError, match="sub"):
        box.copy_out("/dir", out)
    assert not (tmp_path / "file").exists()


def test_set_user_id_bits_stay_in_the_sandbox(box, root, out):
    (root / "su").write_text("x")
    (root / "su").chmod(0o6755)

    box.copy_out("/su", out)

    assert stat.S_IMODE((out / "su").stat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["..", ".", "", "../escaped", "/etc/escaped", "a\0b", 7])
def test_names_that_are_none_are_refused(box, init, root, out, name):
    (root / "dir").mkdir()
    init.do_list = lambda fds, path: ({"names": [[name, "file"]]}, [])

    with pytest.raises(SandboxError, match="which is no file name"):
        box.copy_out("/dir", out)


def test_a_fifo_is_refused_by_name_in_both_directions(box, root, tmp_path, out):
    for folder in (tmp_path / "dir", root / "other"):
        folder.mkdir()
        os.mkfifo(folder / "pipe")

    with pytest.raises(SandboxError, match="pipe is neither"):
        box.copy_in(tmp_path / "dir", "/")
    with pytest.raises(SandboxError, match="pipe is neither"):
        box.copy_out("/other", out)


def test_a_tree_without_end_is_refused(box, init, root, out):
    (root / "dir").mkdir()
    init.inside = lambda path: str(root / "dir")
    init.do_list = lambda fds, path: ({"names": [["dir", "dir"]]}, [])

    with pytest.raises(SandboxError, match="folders deep"):
        box.copy_out("/dir", out)
