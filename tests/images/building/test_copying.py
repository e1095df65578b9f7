"""COPY and ADD: which files are meant, and where they go."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from images.building.conftest import Build
from needs import needs

from lxsandbox.errors import ImageError
from lxsandbox.images.building.context import Context
from lxsandbox.images.library import HeldImage

Tree = Callable[[HeldImage], Path]


@pytest.fixture
def filled(folder: Path) -> Path:
    """a.txt b.txt c.md dir/one dir/deep/two dir/link"""
    for name in ("a.txt", "b.txt", "c.md", "dir/one", "dir/deep/two"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "dir" / "link").symlink_to("one")
    return folder


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())


@pytest.mark.parametrize(
    ("instruction", "found"),
    [
        ("COPY a.txt /", ["a.txt"]),
        ("COPY a.txt /x", ["x"]),
        ("COPY a.txt /x/", ["x/a.txt"]),
        ("COPY a.txt /deep/x", ["deep/x"]),
        ("COPY a.txt .", ["work/a.txt"]),
        ("COPY a.txt sub/", ["work/sub/a.txt"]),
        ("COPY /a.txt ../up", ["up"]),
        ('COPY ["a.txt", "b.txt", "/two words/"]', ["two words/a.txt", "two words/b.txt"]),
        ("COPY *.txt /x/", ["x/a.txt", "x/b.txt"]),
        ("COPY ?.* /x/", ["x/a.txt", "x/b.txt", "x/c.md"]),
        ("COPY [^a].txt /x/", ["x/b.txt"]),
        ("COPY dir/*/two /x/", ["x/two"]),
        ("COPY dir /x", ["x/deep/two", "x/link", "x/one"]),
        ("COPY dir/ /", ["deep/two", "link", "one"]),
        ("COPY dir/link /x", ["x"]),
        ("ADD dir a.txt /x/", ["x/a.txt", "x/deep/two", "x/link", "x/one"]),
    ],
)
def test_sources_go_where_docker_has_them_go(build: Build, tree: Tree, filled: Path, instruction: str, found: list[str]) -> None:
    assert files_of(tree(build(f"FROM scratch\nWORKDIR /work\n{instruction}\n"))) == found


@pytest.mark.parametrize(
    ("instruction", "said"),
    [
        ("COPY a.txt b.txt /x", r"several files go to /x, which is to be a folder then"),
        ("COPY a.txt", r"it needs what to copy, and where to"),
        ("COPY none /x", r"there is no 'none' to copy"),
        ("COPY *.none /x/", r"there is no '\*.none' to copy"),
        ("ADD https://example.org/x /x", r"'https://example.org/x' is an address, and only files are copied"),
        ("ADD git@example.org:x.git /x", r"is an address"),
        ("COPY --chmod=u+x a.txt /x", r"--chmod=u\+x is no mode"),
        ("COPY --from=later a.txt /x", r"stage later does not come before this one"),
        ("COPY $nothing /x", r"the name of a source is empty"),
        ("COPY a.txt /dir", r"/dir/a.txt is a folder in the image, and a file is copied there"),
        ("COPY dir /file", r"/file is no folder in the image, and one is copied there"),
    ],
)
def test_what_cannot_be_copied_is_refused(build: Build, filled: Path, instruction: str, said: str) -> None:
    before = "WORKDIR /dir/a.txt\nWORKDIR /\nCOPY a.txt /file\n"
    name = instruction.partition(" ")[0]
    with pytest.raises(ImageError, match=rf"Containerfile:5: {name}: .*{said}|Containerfile:5: {name}: {said}"):
        build(f"FROM scratch\n{before}{instruction}\nFROM scratch AS later\n", target="0")


@needs("root")
def test_owners_and_modes_are_roots_and_the_files_unless_they_are_given(build: Build, tree: Tree, filled: Path) -> None:
    os.chown(filled / "a.txt", 7, 8)
    (filled / "a.txt").chmod(0o4751)
    os.utime(filled / "a.txt", (1_000_000_000, 1_000_000_000))
    (filled / "dir").chmod(0o711)
    root = tree(
        build("FROM scratch\nCOPY a.txt /plain\nCOPY --chown=3:4 --chmod=640 a.txt /made/given\nCOPY --chown=3:4 dir /all\n")
    )

    found = {name: (root / name).lstat() for name in ("plain", "made", "made/given", "all", "all/one", "all/link")}
    assert {name: (each.st_uid, each.st_gid) for name, each in found.items()} == {
        "plain": (0, 0), "made": (3, 4), "made/given": (3, 4), "all": (3, 4), "all/one": (3, 4), "all/link": (3, 4),
    }  # fmt: skip
    modes = {name: stat.S_IMODE(found[name].st_mode) for name in ("plain", "made", "made/given", "all")}
    assert modes == {"plain": 0o4751, "made": 0o755, "made/given": 0o640, "all": 0o711}
    assert found["plain"].st_mtime == 1_000_000_000


def test_a_copy_replaces_files_and_links_and_fills_folders_that_are_there(build: Build, tree: Tree, filled: Path) -> None:
    before = "mkdir -m 700 x && ln -s ../outside x/one && echo old > x/deep-er && echo old > x/link"
    root = tree(build(f"FROM scratch\nRUN {before}\nCOPY dir /x\n"))

    assert (root / "x/one").read_text() == "dir/one"
    assert not (root / "x/one").is_symlink()
    assert os.readlink(root / "x/link") == "one"
    assert (root / "x/deep-er").read_text() == "old\n"
    assert stat.S_IMODE((root / "x").stat().st_mode) == 0o700


def test_texts_are_copied_with_their_variables_replaced_unless_they_are_quoted(build: Build, tree: Tree) -> None:
    root = tree(
        build("FROM scratch\nENV A=1\nCOPY <<one <<'two' /d/\n$A \"${A:-x}\" it's\none\n$A\ntwo\nCOPY <<-x /e\n\t$A\n\tx\n")
    )

    assert (root / "d/one").read_text() == '1 "1" it\'s\n'
    assert (root / "d/two").read_text() == "$A\n"
    assert (root / "e").read_text() == "1\n"


@pytest.mark.parametrize("name", ["fifo", "dir/fifo"])
def test_what_is_no_file_is_refused_by_name(build: Build, filled: Path, name: str) -> None:
    os.mkfifo(filled / name)

    with pytest.raises(ImageError, match=f"Containerfile:2: COPY: /{name} is neither a file, a folder nor a link"):
        build("FROM scratch\nCOPY . /x\n")


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ("*.txt", ["c.md", "dir/deep/two", "dir/link", "dir/one"]),
        ("**/one\ndir/link\n*.*", ["dir/deep/two"]),
        ("dir\n!dir/deep\n# *\n\n", ["a.txt", "b.txt", "c.md", "dir/deep/two"]),
        ("*\n!/a.txt", ["a.txt"]),
        ("/dir/deep/\n./c.md", ["a.txt", "b.txt", "dir/link", "dir/one"]),
        ("?.txt\n!b.txt\ndir", ["b.txt", "c.md"]),
    ],
)
def test_dockerignore_leaves_out_what_its_last_fitting_line_says(filled: Path, patterns: str, left: list[str]) -> None:
    (filled / ".dockerignore").write_text(patterns)

    with Context(str(filled)) as files:
        assert [path for path in _walked(files, "/") if path != ".dockerignore"] == left


def _walked(files: Context, folder: str) -> list[str]:
    found: list[str] = []
    for name in sorted(files.names(folder)):
        path = f"{folder.rstrip('/')}/{name}"
        status = files.look(path)
        assert status is not None
        found += _walked(files, path) if status.is_folder else [path.lstrip("/")]
    return found


def test_patterns_that_make_no_sense_are_refused(build: Build, folder: Path) -> None:
    (folder / ".dockerignore").write_text("[\n")

    with pytest.raises(ImageError, match=r"\.dockerignore: Invalid ignore pattern '\['"):
        build("FROM scratch\n")


@pytest.mark.parametrize("link", ["../secret", "/secret", "dir/../../secret"])
def test_no_link_leads_out_of_the_folder(folder: Path, link: str) -> None:
    (folder.parent / "secret").write_text("secret")
    (folder / "link").symlink_to(link)

    with Context(str(folder)) as files:
        assert files.look("/link", follow=True) is None
        assert files.look("/link") is not None


def test_a_link_to_what_is_left_out_leads_nowhere(folder: Path) -> None:
    (folder / "secret").write_text("secret")
    (folder / "link").symlink_to("secret")
    (folder / ".dockerignore").write_text("secret\n")

    with Context(str(folder)) as files:
        assert files.look("/link", follow=True) is None
