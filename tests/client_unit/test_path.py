from __future__ import annotations

import os

import pytest

from lxsandbox.errors import SpecError


def test_it_reads_and_writes_as_pathlib_does(box, root):
    path = box.path("/dir") / "file.txt"
    path.parent.mkdir()

    assert path.write_text("grüße\n") == 6
    assert (root / "dir/file.txt").read_text("utf-8") == path.read_text() == "grüße\n"
    assert (path.name, path.suffix, path.parent) == ("file.txt", ".txt", box.path("/dir"))
    assert [child.name for child in box.path("/dir").iterdir()] == ["file.txt"]
    assert (path.is_file(), path.is_dir(), path.parent.is_dir(), path.stat().st_size) == (True, False, True, 8)


def test_append_exclusive_and_update_modes(box, root):
    path = box.path("/file")
    with path.open("x") as file:
        file.write("ab")
    with path.open("a") as file:
        file.write("cd")
    with path.open("r+b") as file:
        file.write(b"X")

    assert path.read_bytes() == b"Xbcd"
    with pytest.raises(FileExistsError):
        path.open("x")
    with pytest.raises(ValueError, match="invalid mode"):
        path.open("q")


def test_links_are_seen_as_links(box):
    link = box.path("/link")
    link.symlink_to("/nowhere")

    assert link.is_symlink()
    assert not link.exists()
    assert str(link.readlink()) == "/nowhere"
    link.unlink()
    link.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        link.unlink()


def test_moving_modes_and_touching(box, root):
    path = box.path("/one")
    path.touch()
    path.chmod(0o640)
    moved = path.rename("/two")

    assert moved == box.path("/two")
    assert oct(moved.stat().st_mode) == "0o100640"
    os.utime(root / "two", (0, 0))
    moved.touch()
    assert moved.stat().st_mtime > 0
    box.path("/dir").mkdir()
    box.path("/dir").rmdir()


def test_missing_paths_raise_what_pathlib_raises(box):
    with pytest.raises(FileNotFoundError):
        box.path("/none").read_text()
    assert not (box.path("/none") / "below").exists()


@pytest.mark.parametrize("path", ["etc/hosts", "", "/a\0b", 7, None])
def test_a_path_is_absolute_text(box, path):
    with pytest.raises(SpecError, match="absolute path"):
        box.path(path)


def test_it_is_no_path_of_the_host(box):
    with pytest.raises(TypeError):
        os.stat(box.path("/etc/hosts"))
