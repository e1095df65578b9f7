"""Archives that mean harm, or make no sense: each is really unpacked, and nothing outside changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from images.unpack.making import (
    END,
    device,
    entry,
    file,
    folder,
    global_pax,
    hard_link,
    header,
    link,
    long_link,
    long_name,
    pax,
)  # fmt: skip
from images.unpack.unpacking import unpacked
from needs import needs
from security.conftest import Outside

pytestmark = pytest.mark.security

_UP = b"../" * 30
USERS = [pytest.param("root", marks=needs("root")), pytest.param("single", marks=needs("user-namespaces"))]


@dataclass(frozen=True, kw_only=True)
class Case:
    """`says` is in the refusal; where it is empty the archive is taken, and then `has` are its files, all of them, if known."""

    archive: Callable[[bytes], bytes]  # from the path of the folder outside
    says: str = ""
    has: frozenset[str] | None = None
    form: str = "root"


def refused(archive: Callable[[bytes], bytes] | bytes, says: str, *, form: str = "root") -> Case:
    return Case(archive=archive if callable(archive) else lambda _: archive, says=says, form=form)


def taken(archive: Callable[[bytes], bytes] | bytes, *has: str, form: str = "root") -> Case:
    made = archive if callable(archive) else lambda _: archive
    return Case(archive=lambda out: made(out) + END, has=frozenset(has), form=form)


def harmless(archive: Callable[[bytes], bytes], *, form: str = "root") -> Case:
    """Taken, with folders whose names are those of the folder outside."""
    return Case(archive=lambda out: archive(out) + END, form=form)


def sparse(numbers: bytes, *, size: bytes = b"4096", content: bytes = b"x" * 512) -> bytes:
    return pax((b"GNU.sparse.size", size), (b"GNU.sparse.map", numbers)) + file(b"holes", content) + END


def pax_data(content: bytes) -> bytes:
    return entry(b"pax", b"x", content) + file(b"odd") + END


NAMES = {
    "parents": refused(lambda out: file(_UP + out[1:] + b"/file", b"evil") + END, "leads out of the root"),
    "parents below a folder": refused(lambda out: folder(b"a") + file(b"a/" + _UP + b"x") + END, "entry 'a/../"),
    "parents by pax": refused(pax((b"path", b"a/../../x")) + file(b"good") + END, "entry 'a/../../x': leads out"),
    "parents by a long name": refused(long_name(b"../x") + file(b"good") + END, "entry '../x': leads out"),
    "parents by prefix": refused(file(b"x", prefix=b"../..") + END, "entry '../../x': leads out"),
    "parents by a global record": refused(global_pax((b"path", b"../x")) + file(b"good") + END, "entry '../x': leads out"),
    "absolute is below the root": taken(lambda out: file(b"//a//b", b"x") + folder(b"/a/"), "a", "a/b"),
    "dots and slashes": taken(file(b"././a/.//b/./c", b"x"), "a", "a/b", "a/b/c"),
    "NUL by pax": refused(pax((b"path", b"a\0b")) + file(b"good") + END, "NUL in its name"),
    "too long": refused(pax((b"path", b"a/" * 2100)) + file(b"good") + END, "has a name of 4200 bytes"),
    "a part too long": refused(pax((b"path", b"a" * 256)) + file(b"good") + END, "File name too long"),
    "too deep": refused(pax((b"path", b"a/" * 300 + b"x")) + file(b"good") + END, "more than 200 folders deep"),
    "no UTF-8": taken(file(b"\xff\xfe"), "\udcff\udcfe"),
    "control characters are not shown": refused(file(b"\x1b[2J\n..") + folder(b"\x1b[2J\n../x/..") + END, r"'\x1b[2J\n../x/..'"),
    "the root as a file": refused(file(b"./") + END, "entry './': is the root, and no folder"),
    "the root as a link": refused(lambda out: link(b"/", out) + file(b"file", b"evil") + END, "is the root, and no folder"),
    "the root as a folder": taken(folder(b"./", mode=0o777) + folder(b"/", uid=7)),
    "no name": refused(file(b"") + END, "is the root, and no folder"),
}

LINKS = {
    "link to a file outside": taken(lambda out: link(b"x", out + b"/file") + file(b"x", b"evil"), "x"),
    "link to a folder outside": taken(
        lambda out: link(b"x", b"/o") + folder(b"o") + file(b"x/file", b"a") + folder(b"x/new"), "x", "o", "o/file", "o/new"
    ),
    "file below a link to a folder outside": harmless(
        lambda out: link(b"x", out) + file(b"x/file", b"evil") + folder(b"x/below")
    ),
    "absolute, of the folder outside": harmless(lambda out: file(out + b"/file", b"evil") + folder(out, mode=0o777)),
    "link out by parents": taken(lambda out: folder(b"a") + link(b"a/x", _UP + b"b") + file(b"a/x/f"), "a", "a/x", "b", "b/f"),
    "links in a chain": taken(link(b"a", _UP) + link(b"b", b"a/c") + file(b"b/file"), "a", "b", "c", "c/file"),
    "links in a circle": refused(link(b"a", b"b") + link(b"b", b"a") + file(b"a/x") + END, "'a/x': leads through too many"),
    "a link to itself in a known folder's place": taken(folder(b"a") + folder(b"a/b") + link(b"a", b"a"), "a"),
    "a link to itself": refused(link(b"a", b"a") + file(b"a/x") + END, "leads through too many symbolic links"),
    "a long chain": refused(
        b"".join(link(b"%d" % n, b"%d" % (n + 1)) for n in range(1000)) + file(b"0/x") + END, "too many symbolic links"
    ),
    "folder over a link": taken(lambda out: link(b"x", out) + folder(b"x") + file(b"x/file"), "x", "x/file"),
    "link over a folder": taken(
        lambda out: folder(b"x") + file(b"x/old") + link(b"x", b"/y") + file(b"x/new"), "x", "y", "y/new"
    ),
    "a known folder becomes a link": taken(
        lambda out: folder(b"x/y") + file(b"x/y/1") + link(b"x", b"/z") + file(b"x/y/2"), "x", "z", "z/y", "z/y/2"
    ),
    "a link to nothing": refused(link(b"x", b"") + END, "entry 'x': is a symbolic link to ''"),
    "a link with a NUL": refused(pax((b"linkpath", b"a\0b")) + link(b"x", b"a") + END, "is a symbolic link to"),
    "a link too long": refused(long_link(b"a/" * 2100) + link(b"x", b"a") + END, "entry 'x': File name too long"),
    "a file as a folder": refused(file(b"a") + file(b"a/b") + END, "entry 'a/b': lies below '/a', which is no folder"),
    "a link to a file as a folder": refused(file(b"f") + link(b"a", b"f") + file(b"a/b") + END, "lies below '/f', which is no"),
    "hard link outside": refused(lambda out: hard_link(b"x", out + b"/file") + END, "entry 'x': is a hard link to"),
    "hard link by parents": refused(hard_link(b"x", _UP + b"etc/passwd") + END, "which leads out of the root"),
    "hard link through a link": refused(
        lambda out: link(b"l", out) + hard_link(b"x", b"l/file") + END, "which the archive has not brought before"
    ),
    "hard link to a link": taken(lambda out: link(b"l", out + b"/file") + hard_link(b"x", b"l") + file(b"x", b"evil"), "l", "x"),
    "hard link to a folder": refused(folder(b"a") + hard_link(b"x", b"a") + END, "which is a folder"),
    "hard link to the root": refused(hard_link(b"x", b"/") + END, "which is a folder"),
    "hard link to itself": taken(file(b"a", b"x") + hard_link(b"a", b"./a"), "a"),
    "hard link makes no folders": refused(hard_link(b"x", b"a/b/c") + END, "has not brought before"),
    "hard link below a file": refused(file(b"a") + hard_link(b"x", b"a/b") + END, "has not brought before"),
}

NODES = {
    "fifo in a link's place": taken(lambda out: link(b"x", out + b"/file") + entry(b"x", b"6"), "x"),
    "fifo below a link": taken(link(b"x", b"/o") + entry(b"x/fifo", b"6"), "x", "o", "o/fifo"),
    "file in a fifo's place": taken(entry(b"x", b"6") + file(b"x", b"data"), "x"),  # opened, it would hang
    "a device of overlayfs' whiteouts": taken(file(b"x") + device(b"x", 0, 0)),
    "a socket, or whatever it is": refused(entry(b"x", b"s") + END, "entry 'x': is of unknown type b's'"),
    "another volume": refused(entry(b"x", b"M") + END, "entry 'x': is of unknown type b'M'"),
    "a volume's label": taken(entry(b"label", b"V") + file(b"x"), "x"),
    "device number out of range": refused(
        header(b"x", b"3", major=b"\x80" + b"\x7f" * 7, minor=0) + END, "entry 'x': its device is"
    ),
}

NUMBERS = {
    "size negative": refused(header(b"x", size=b"\xff" * 12) + END, "entry 'x': its size is -1"),
    "size beyond all bounds": refused(header(b"x", size=b"\x80" + b"\x7f" * 11) + END, "entry 'x': its size is"),
    "size of more than is taken": refused(header(b"x", size=b"\x80" + (1 << 37).to_bytes(11, "big")) + END, "entry 'x': with it"),
    "size in letters": refused(header(b"x", size=b"12ab") + END, "entry 'x': its size b'12ab"),
    "size with a sign": refused(header(b"x", size=b"-1") + END, "is no number"),
    "size with a nine": refused(header(b"x", size=b"19") + END, "is no number"),
    "size with an underscore": refused(header(b"x", size=b"1_0") + END, "is no number"),
    "size with a prefix": refused(header(b"x", size=b"0o1") + END, "is no number"),
    "time out of range": refused(header(b"x", mtime=b"\x80" + b"\x7f" * 11) + END, "entry 'x': its time is"),
    "time before 1970": taken(header(b"x", mtime=b"\xff" * 12), "x"),
    "owner out of range": refused(header(b"x", uid=b"\x80" + b"\x7f" * 7) + END, "entry 'x': its owner is"),
    "owner that means none": refused(header(b"x", uid=b"\x80\0\0\0\xff\xff\xff\xff") + END, "its owner is 4294967295"),
    "group negative": refused(header(b"x", gid=b"\xff" * 8) + END, "entry 'x': its group is -1"),
    "mode in letters": refused(header(b"x", mode=b"rwxr-x") + END, "entry 'x': its mode"),
    "checksum wrong": refused(file(b"a") + header(b"x", checksum=b"000001\0 ") + END, "what stands after entry 'a' is no header"),
    "checksum in letters": refused(header(b"x", checksum=b"zzzzzz\0 ") + END, "what stands at its beginning is no header"),
    "pax size negative": refused(pax((b"size", b"-1")) + file(b"x") + END, "entry 'x': its size b'-1' is no number"),
    "pax size enormous": refused(pax((b"size", b"9" * 20)) + file(b"x") + END, "entry 'x': its size is 999"),
    "pax size of 5000 digits": refused(pax((b"size", b"9" * 5000)) + file(b"x") + END, "is no number"),
    "pax time in words": refused(pax((b"mtime", b"now")) + file(b"x") + END, "entry 'x': its time b'now"),
    "pax owner enormous": refused(pax((b"uid", b"4294967296")) + file(b"x") + END, "its owner is 4294967296"),
}

PAX = {
    "pax without a length": refused(pax_data(b"path=x\n"), "a pax record has no length"),
    "pax of length zero": refused(pax_data(b"0 path=x\n"), "does not end where it says"),
    "pax longer than it is": refused(pax_data(b"99 path=x\n"), "does not end where it says"),
    "pax with an enormous length": refused(pax_data(b"9" * 400 + b" a=b\n"), "has no length"),
    "pax without a new line": refused(pax_data(b"10 path=xx"), "does not end where it says"),
    "pax without a key": refused(pax_data(b"5 =x\n"), "has no key"),
    "pax without an equals": refused(pax_data(b"7 path\n"), "has no key"),
    "pax with a NUL in the key": refused(pax_data(b"8 a\0b=x\n"), "has no key"),
    "pax of two MiB": refused(header(b"pax", b"x", size=2 << 20) + bytes(2 << 20) + END, "has 2097152 bytes of text"),
    "a long name of many MiB": refused(header(b"l", b"L", size=64 << 20) + END, "has 67108864 bytes of text"),
    "many pax headers for one entry": refused(
        pax((b"comment", b"x" * 500_000)) * 3 + file(b"x") + END, "has 500016 bytes of text, and 48544 are taken"
    ),
    "many global records": refused(
        b"".join(global_pax((b"a%d" % n, b"x" * 400_000)) + file(b"x") for n in range(3)) + END, "bytes of global records"
    ),
    "a pax header for nothing": refused(pax((b"path", b"x")) + END, "within the headers of another"),
    "an empty value is the header's": taken(pax((b"path", b"")) + file(b"x"), "x"),
}

SPARSE = {
    "sparse out of order": refused(sparse(b"1024,256,0,256"), "entry 'holes': its sparse map is out of order"),
    "sparse beyond its end": refused(sparse(b"4000,512"), "leads beyond its end"),
    "sparse that overlaps": refused(sparse(b"0,256,128,256"), "out of order"),
    "sparse for too little": refused(sparse(b"0,256"), "is for other than the 512 bytes"),
    "sparse for too much": refused(sparse(b"0,1024"), "is for other than the 512 bytes"),
    "sparse with an odd count": refused(sparse(b"0,512,1"), "odd count"),
    "sparse in letters": refused(sparse(b"0,x"), "its sparse map b'x' is no number"),
    "sparse bomb": refused(sparse(b"0,512", size=b"9000000000000000000"), "entry 'holes': with it the archive has more"),
    "sparse without a size": refused(
        pax((b"GNU.sparse.map", b"0,512")) + file(b"holes", b"x" * 512) + END, "its size b'' is no number"
    ),
    "sparse of a version to come": refused(
        pax((b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0")) + file(b"x") + END, "a version that is not known"
    ),
    "sparse with its map cut short": refused(
        pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9"))
        + file(b"x", b"999999\n" + b"0\n" * 252)
        + END,
        "its sparse map is too long",
    ),
    "sparse that leads out": refused(
        pax((b"GNU.sparse.name", b"../x"), (b"GNU.sparse.size", b"0"), (b"GNU.sparse.map", b"")) + file(b"x") + END,
        "entry '../x': leads out of the root",
    ),
}

ENDS = {
    "nothing at all": refused(b"", "cut short at its beginning"),
    "cut in a header": refused(file(b"x")[:300], "cut short at its beginning"),
    "cut in a content": refused(file(b"x", b"a" * 2000)[:1500], "cut short after entry 'x' or in it"),
    "cut in the padding": refused(file(b"x", b"a" * 2000)[:-1], "cut short after entry 'x' or in it"),
    "cut between entries": refused(file(b"a", b"x") + file(b"b"), "cut short after entry 'b' or in it"),
    "cut in a pax header": refused(pax((b"path", b"x"))[:-1], "cut short"),
    "cut in a layer's content": refused(file(b"x", b"a" * 2000)[:1500], "cut short after entry 'x'", form="layer"),
    "garbage behind the end": refused(file(b"x") + END + b"garbage", "goes on behind its end, after entry 'x'"),
    "garbage behind zeros": refused(file(b"x") + END + bytes(3 << 20) + b"g", "goes on behind its end"),
    "one archive behind another": refused((file(b"x") + END) * 2, "goes on behind its end"),
    "one block of zeros between": refused(file(b"x") + bytes(512) + file(b"y") + END, "goes on behind its end"),
    "one block of zeros at the end": Case(archive=lambda _: file(b"x") + bytes(512), has=frozenset({"x"})),
    "a layer without an end": Case(archive=lambda _: file(b"x"), has=frozenset({"x"}), form="layer"),
    "no archive": refused(b"no archive at all" * 100, "what stands at its beginning is no header"),
    "many zeros": taken(file(b"x") + END + bytes(5 << 20), "x"),
}

TWICE = {
    "file over file": taken(file(b"x", b"1") + file(b"x", b"2"), "x"),
    "file over folder": taken(folder(b"x") + folder(b"x/y") + file(b"x/y/z") + file(b"x", b"1"), "x"),
    "folder over file": taken(file(b"x") + folder(b"x") + file(b"x/y"), "x", "x/y"),
    "folder over folder": taken(folder(b"x") + file(b"x/1") + folder(b"x") + file(b"x/2"), "x", "x/1", "x/2"),
    "hard link over folder": taken(file(b"a") + folder(b"x") + file(b"x/y") + hard_link(b"x", b"a"), "a", "x"),
    "hard link in the place of what it is to": refused(
        folder(b"x") + file(b"x/y") + hard_link(b"x", b"x/y") + END, "entry 'x': No such file"
    ),
    "device over file": taken(file(b"x") + folder(b"a") + device(b"a", 0, 0), "x"),
}

# Of little to fetch, much to do. Zeros by the gigabyte are in test_holes.
BOMBS = {
    "links that multiply": refused(
        b"".join(link(b"%d" % n, b"/".join([b"%d" % (n + 1)] * 20)) for n in range(30)) + folder(b"30") + file(b"0/x") + END,
        "lies more than 200 folders deep",
    ),
    "links that multiply and lead back": refused(
        b"".join(link(b"%d" % n, b"/../".join([b"%d" % (n + 1)] * 99)) for n in range(30)) + folder(b"30") + file(b"0/x") + END,
        "leads through too many symbolic links",
    ),
    "records for every entry": refused(
        global_pax(*((b"comment.%d" % n, b"") for n in range(200))) + file(b"x") + END, "there are more than 100 global records"
    ),
    "a sparse file of 60 GiB": taken(sparse(b"0,512", size=b"%d" % (60 << 30)).removesuffix(END), "holes"),
    "sparse files of 120 GiB together": refused(
        sparse(b"0,512", size=b"%d" % (60 << 30)).removesuffix(END) * 2 + END, "entry 'holes': with it the archive has more than"
    ),
}

XATTRS = {
    "of a link": taken(pax((b"SCHILY.xattr.user.a", b"x")) + link(b"l", b"/etc/passwd"), "l"),
    "of a hard link to a link out": taken(
        lambda out: link(b"l", out + b"/file") + pax((b"SCHILY.xattr.user.a", b"x")) + hard_link(b"h", b"l"), "l", "h"
    ),
    "of the root": taken(pax((b"SCHILY.xattr.user.overlay.opaque", b"y")) + folder(b"./"), form="layer"),
    "of a whiteout": taken(pax((b"SCHILY.xattr.user.a", b"x")) + file(b".wh.x"), "x", form="layer"),
    "of nothing but a prefix": refused(pax((b"SCHILY.xattr.user.", b"x")) + file(b"x") + END, "entry 'x': its attribute 'user.'"),
    "with control characters": refused(
        pax((b"SCHILY.xattr.user.\x1b[2J" + b"x" * 300, b"x")) + file(b"x") + END, r"its attribute 'user.\x1b[2J"
    ),
    "a list of access that is none": taken(pax((b"SCHILY.xattr.system.posix_acl_access", b"junk")) + link(b"l", b"x"), "l"),
}

WHITEOUTS = {
    "whiteout of a parent": refused(file(b"a/.wh...") + END, "entry 'a/.wh...': is a whiteout of no file", form="layer"),
    "whiteout of the folder itself": refused(file(b"a/.wh..") + END, "is a whiteout of no file", form="layer"),
    "whiteout of nothing": refused(file(b".wh.") + END, "entry '.wh.': is a whiteout of no file", form="layer"),
    "whiteout below one": refused(file(b".wh.a/b") + END, "a folder that has the name of a whiteout", form="layer"),
    "whiteout through parents": refused(file(b"../.wh.x") + END, "leads out of the root", form="layer"),
    "whiteout through a link out": harmless(lambda out: link(b"l", out) + file(b"l/.wh.file"), form="layer"),
    "opaque through a link out": harmless(lambda out: link(b"l", out) + file(b"l/.wh..wh..opq"), form="layer"),
    "names of aufs": taken(
        folder(b".wh..wh.plnk") + file(b".wh..wh.plnk/1", b"x") + file(b".wh..wh.aufs") + file(b"a"), "a", form="layer"
    ),
    "a root has no whiteouts": taken(file(b".wh.x") + file(b".wh..wh..opq"), ".wh.x", ".wh..wh..opq"),
}

OF_FILES = NAMES | LINKS | NODES | TWICE | BOMBS | XATTRS | WHITEOUTS
OF_BYTES = NUMBERS | PAX | SPARSE | ENDS


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", OF_FILES)
def test_nothing_outside_changes_and_what_is_refused_is_named(tmp_path: Path, outside: Outside, name: str, user: str) -> None:
    _attempt(OF_FILES[name], tmp_path / "root", outside, user)


@needs("user-namespaces")
@pytest.mark.parametrize("name", OF_BYTES)
def test_what_makes_no_sense_is_refused_and_named(tmp_path: Path, outside: Outside, name: str) -> None:
    _attempt(OF_BYTES[name], tmp_path / "root", outside, "single")


def _attempt(case: Case, root: Path, outside: Outside, user: str) -> None:
    done = unpacked(case.archive(str(outside.folder).encode()), root, form=case.form, user=user)

    outside.check()
    assert case.says in done.said
    assert bool(done.said) == bool(case.says), done.said
    assert done.said.isprintable()
    if case.has is not None and not case.says:
        assert done.names() == case.has
    assert outside.file.stat().st_ino not in {path.lstat().st_ino for path in root.rglob("*")}
    assert root.stat().st_mode & 0o7777 == 0o755


_FEW_STEPS = "from lxsandbox.images.unpack import folders; folders.MOST_STEPS = 10_000"
_LONG_WAY = link(b"a", b"b/../" * 800 + b"b")


@needs("user-namespaces")
def test_a_long_way_through_a_link_is_gone_once_for_all_paths_through_it(tmp_path: Path) -> None:
    archive = _LONG_WAY + b"".join(file(b"a/%d/x" % number) for number in range(1000)) + END

    assert unpacked(archive, tmp_path / "root", before=_FEW_STEPS).said == ""


@needs("user-namespaces")
def test_a_link_that_is_made_anew_for_each_path_comes_to_an_end(tmp_path: Path) -> None:
    archive = (_LONG_WAY + file(b"a/x")) * 10 + END

    assert unpacked(archive, tmp_path / "root", before=_FEW_STEPS).said.endswith("all of them are too long a way")
