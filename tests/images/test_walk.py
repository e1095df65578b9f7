"""What counts as a change, and what the walk that finds changes may run into."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from images.trees import changes, opaque, opened, whiteout
from needs import needs

from lxsandbox.images.walk import Upper, walk

DEEP = 1500  # folders in folders, of whose path PATH_MAX is 4096 bytes and a descriptor for each would be too many


@pytest.fixture
def lowest(tmp_path: Path) -> Path:
    (tmp_path / "lowest").mkdir(mode=0o755)
    return tmp_path / "lowest"


@pytest.fixture
def deep(upper: Path) -> Iterator[Path]:
    """A folder that is `DEEP` folders deep, which Python cannot remove."""
    fd = os.open(upper, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("ddd", dir_fd=fd)
        below = os.open("ddd", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    yield upper
    subprocess.run(["rm", "-rf", upper / "ddd"], check=True)


def test_what_the_layers_below_have_is_changed_and_what_they_lack_is_added(upper: Path, lower: Path, lowest: Path) -> None:
    (lower / "a").touch()
    (lowest / "b").touch()
    for name in "abc":
        (upper / name).write_text("new")

    assert changes(upper, lower, lowest) == ["changed /a", "changed /b", "added /c"]


@pytest.mark.parametrize("form", ["device", "attribute"])
def test_what_is_whited_out_is_removed(upper: Path, lower: Path, form: str) -> None:
    (lower / "file").touch()
    (lower / "folder").mkdir()
    whiteout(upper / "file", form=form)
    whiteout(upper / "folder", form=form)
    whiteout(upper / "nothing", form=form)

    assert changes(upper, lower) == ["removed /file", "removed /folder"]


def test_an_empty_file_is_no_whiteout(upper: Path) -> None:
    (upper / "empty").touch()

    assert changes(upper) == ["added /empty"]


def test_a_folder_that_is_there_for_what_is_in_it_is_no_change(upper: Path, lower: Path) -> None:
    for layer in (upper, lower):
        (layer / "folder" / "below").mkdir(parents=True)
    (upper / "folder" / "below" / "new").touch()
    os.utime(upper / "folder", (1, 1))

    assert changes(upper, lower) == ["added /folder/below/new"]


def test_the_mode_and_the_attributes_of_a_folder_are_changes(upper: Path, lower: Path) -> None:
    for layer in (upper, lower):
        for name in ("attributes", "mode", "same"):
            (layer / name).mkdir()
        os.setxattr(layer / "same", "user.mine", b"1")
    (upper / "mode").chmod(0o700)
    os.setxattr(upper / "attributes", "user.mine", b"1")
    os.setxattr(upper / "same", "user.overlay.impure", b"y")  # the kernel's own

    assert changes(upper, lower) == ["changed /attributes", "changed /mode"]


def test_what_looks_like_a_whiteout_where_nothing_is_stacked_is_a_file(upper: Path) -> None:
    whiteout(upper / "device")
    whiteout(upper / "file", form="attribute")
    opaque(upper / "folder")
    made = dict.fromkeys(("device", "file", "folder/other"), ("file", 420, "text"))

    with ExitStack() as stack:
        layer = opened(stack, upper, [upper], made)
        found = {each.path: each.kind for each in walk(Upper("/", layer.fd, [], layer.made))}

    del found[""]  # whose owner is whoever runs this
    assert found == {"device": "changed", "file": "changed", "folder": "added", "folder/other": "removed"}


@needs("root")
def test_the_owner_of_a_folder_is_a_change(upper: Path, lower: Path) -> None:
    for layer in (upper, lower):
        (layer / "folder").mkdir()
    os.chown(upper / "folder", 0, 5)

    assert changes(upper, lower) == ["changed /folder"]


def test_a_mode_of_the_top_is_a_change_at_its_place(upper: Path, lower: Path) -> None:
    upper.chmod(0o700)

    assert changes(upper, lower) == ["changed /"]
    assert changes(upper, lower, target="/srv") == ["changed /srv"]


def test_a_layer_below_hides_what_is_under_it(upper: Path, lower: Path, lowest: Path) -> None:
    for name in ("whiteout", "opaque", "file", "merged"):
        (lowest / name).mkdir()
        (lowest / name / "a").touch()
        (upper / name).mkdir()
        (upper / name / "a").touch()
    whiteout(lower / "whiteout")
    opaque(lower / "opaque")
    (lower / "file").touch()
    (lower / "merged").mkdir()

    assert changes(upper, lower, lowest) == [
        *("changed /file", "added /file/a", "changed /merged/a", "added /opaque/a", "added /whiteout", "added /whiteout/a"),
    ]


def test_a_folder_made_anew_has_lost_what_it_does_not_have(upper: Path, lower: Path, lowest: Path) -> None:
    for layer in (lower, lowest):
        (layer / "folder" / "below").mkdir(parents=True)
    (lower / "folder" / "kept").touch()
    (lower / "folder" / "lost").touch()
    (lowest / "folder" / "below" / "lost").touch()
    whiteout(lower / "folder" / "never")
    opaque(upper / "folder")
    (upper / "folder" / "kept").touch()
    (upper / "folder" / "below").mkdir()

    assert changes(upper, lower, lowest) == ["removed /folder/below/lost", "changed /folder/kept", "removed /folder/lost"]


def test_no_link_is_followed_in_any_layer(upper: Path, lower: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    (upper / "link").symlink_to(tmp_path / "outside")
    (upper / "folder").mkdir()
    (upper / "folder" / "file").touch()
    (lower / "folder").symlink_to(tmp_path / "outside")

    assert changes(upper, lower) == ["changed /folder", "added /folder/file", "added /link"]


@pytest.mark.parametrize("name", ["new\nline", " ", "\udcff\udc80", "ä", "n" * 255, "-rf", "*"])
def test_any_name_is_told_as_it_is(upper: Path, lower: Path, name: str) -> None:
    (upper / name).touch()

    assert changes(upper, lower) == [f"added /{name}"]


def test_a_tree_is_walked_however_deep_with_few_descriptors(deep: Path, lower: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 200), hard))
    try:
        found = changes(deep, lower)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert len(found) == DEEP
    assert found[-1] == "added " + "/ddd" * DEEP


def test_a_layer_comes_back_after_a_folder_that_it_does_not_have(upper: Path, lower: Path, lowest: Path) -> None:
    for layer, name in ((lower, "b"), (lowest, "a"), (lowest, "b"), (lowest, "c")):
        (layer / name / "below").mkdir(parents=True)
        (layer / name / "below" / "file").touch()
    for name in "abcd":
        (upper / name / "below").mkdir(parents=True)
        (upper / name / "below" / "file").touch()

    assert changes(upper, lower, lowest) == [
        *("changed /a/below/file", "changed /b/below/file", "changed /c/below/file"),
        *("added /d", "added /d/below", "added /d/below/file"),
    ]


def test_what_goes_away_during_the_walk_is_left_out(upper: Path) -> None:
    for name in ("a", "b", "d"):
        (upper / name).mkdir()
        (upper / name / "file").touch()
    (upper / "c").touch()

    found = []
    with ExitStack() as stack:
        for each in walk(opened(stack, upper, [], {})):
            found.append(each.path)
            if each.path == "a":
                (upper / "a" / "file").unlink()
                (upper / "b" / "file").rename(upper / "b2")
                (upper / "b").rmdir()
                (upper / "c").unlink()
                (upper / "d" / "file").unlink()
                (upper / "d").rmdir()
                (upper / "d").symlink_to("/")

    assert found == ["", "a", "d"]


@pytest.mark.parametrize("kind", ["fifo", "link", "socket", "folder", "nothing"])
def test_a_file_that_is_something_else_when_it_is_opened_is_none(upper: Path, kind: str) -> None:
    (upper / "file").touch()

    with ExitStack() as stack:
        walking = walk(opened(stack, upper, [], {}))
        found = [next(walking), next(walking)][1]
        (upper / "file").unlink()
        match kind:
            case "fifo":
                os.mkfifo(upper / "file")
            case "link":
                (upper / "file").symlink_to("/etc/passwd")
            case "socket":
                os.mknod(upper / "file", stat.S_IFSOCK | 0o600)
            case "folder":
                (upper / "file").mkdir()
            case _:
                pass
        with pytest.raises(FileNotFoundError):
            found.open()


def test_a_folder_that_is_moved_during_the_walk_is_noticed(upper: Path) -> None:
    (upper / "a" / "b").mkdir(parents=True)
    (upper / "elsewhere").mkdir()

    with ExitStack() as stack:
        walking = walk(opened(stack, upper, [], {}))
        while next(walking).path != "a/b":
            pass
        (upper / "a" / "b").rename(upper / "elsewhere" / "b")
        with pytest.raises(OSError, match="moved"):
            list(walking)


def test_what_the_runtime_made_is_a_change_once_it_is_not_as_made(upper: Path, lower: Path) -> None:
    (lower / "secret").touch()
    (lower / "hidden").mkdir()
    (lower / "hidden" / "file").touch()
    whiteout(upper / "secret")
    (upper / "link").symlink_to("target")
    (upper / "mounted").mkdir()
    (upper / "mounted" / "below").touch()
    made = {
        "secret": ("absent", 0, ""),
        "hidden": ("empty", 0o755, ""),
        "link": ("link", 0, "target"),
        "gone": ("file", 0o644, "text"),
        "mounted": ("mount", 0, ""),
    }
    assert changes(upper, lower, made=made) == ["removed /gone", "removed /hidden"]

    (upper / "secret").unlink()
    (upper / "secret").touch()
    (upper / "link").unlink()
    (upper / "link").symlink_to("elsewhere")
    (opaque(upper / "hidden") / "file").touch()

    found = changes(upper, lower, made=made)
    assert set(found) >= {"added /secret", "changed /link", "removed /gone", "added /hidden/file"}
    assert "removed /hidden" not in found


@needs("root")
def test_files_and_folders_that_are_as_the_runtime_made_them_are_no_changes(upper: Path, lower: Path) -> None:
    (upper / "etc").mkdir(mode=0o755)
    (upper / "etc" / "hosts").write_text("text")
    (upper / "etc" / "mode").write_text("text")
    (upper / "etc" / "mode").chmod(0o600)
    (upper / "etc" / "other").write_text("tex!")
    (upper / "etc" / "owner").write_text("text")
    os.chown(upper / "etc" / "owner", 0, 5)
    opaque(upper / "home")
    opaque(upper / "root").chmod(0o700)
    made = {f"etc/{name}": ("file", 0o644, "text") for name in ("hosts", "mode", "other", "owner")}
    made |= {"etc": ("folder", -1, ""), "home": ("empty", 0o755, ""), "root": ("empty", 0o755, "")}

    assert changes(upper, lower, made=made) == [
        *("changed /etc/mode", "changed /etc/other", "changed /etc/owner", "changed /root"),
    ]
