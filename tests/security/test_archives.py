"""Class 10 of the threat model: archives that mean to write where they are not unpacked."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs
from security.conftest import Outside

from lxsandbox import ImageError, Sandbox

pytestmark = [pytest.mark.security, pytest.mark.usefixtures("own_run")]

Entries = list[tuple[str, bytes, str]]  # name, type as tarfile has it, and the target of a link or the content of a file
_UP = "../" * 30


def _archive(folder: Path, entries: Entries, *, change: Callable[[tarfile.TarInfo], None] | None = None) -> str:
    with tarfile.open(folder / "root.tar", "w") as archive:
        for name, kind, rest in [("etc", tarfile.DIRTYPE, ""), *entries]:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, 0o777
            content = rest.encode() if kind == tarfile.REGTYPE else b""
            entry.size = len(content)
            entry.linkname = "" if kind == tarfile.REGTYPE else rest
            if change is not None:
                change(entry)
            archive.addfile(entry, io.BytesIO(content))
    return f"tar:{folder / 'root.tar'}"


_FILE, _LINK, _HARD, _DIR = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
_ATTEMPTS: dict[str, Callable[[str], Entries]] = {
    "parents": lambda out: [(f"{_UP}{out}/file", _FILE, "evil")],
    "parents below a folder": lambda out: [(f"etc/{_UP}{out}/new", _FILE, "evil")],
    "absolute": lambda out: [(f"{out}/file", _FILE, "evil"), (f"//{out}/new", _FILE, "evil")],
    "link to a file": lambda out: [("x", _LINK, f"{out}/file"), ("x", _FILE, "evil")],
    "link to a folder": lambda out: [("x", _LINK, out), ("x/file", _FILE, "evil"), ("x/new", _DIR, "")],
    "relative link": lambda out: [("etc/x", _LINK, _UP + out), ("etc/x/file", _FILE, "evil"), ("etc/x/new", _FILE, "evil")],
    "links in a chain": lambda out: [("a", _LINK, _UP), ("b", _LINK, f"a{out}"), ("b/file", _FILE, "evil")],
    "link in a folder's place": lambda out: [("x", _DIR, ""), ("x", _LINK, out), ("x/file", _FILE, "evil")],
    "folder over a link": lambda out: [("x", _LINK, out), ("x", _DIR, ""), ("x/file", _FILE, "evil")],
    "hard link": lambda out: [("x", _HARD, f"{out}/file"), ("x", _FILE, "evil")],
    "hard link by parents": lambda out: [("x", _HARD, f"{_UP}{out}/file"), ("x", _FILE, "evil")],
    "hard link through a link": lambda out: [("l", _LINK, out), ("x", _HARD, "l/file")],
    "hard link to a link": lambda out: [("l", _LINK, f"{out}/file"), ("x", _HARD, "l"), ("x", _FILE, "evil")],
    "fifo and socket": lambda out: [("x", _LINK, out), ("x/fifo", tarfile.FIFOTYPE, "")],
    "the root itself": lambda out: [("/", _LINK, out), (".", _LINK, out), ("./file", _FILE, "evil")],
}


@pytest.mark.parametrize("attempt", _ATTEMPTS)
def test_an_archive_writes_nothing_outside_the_store(own_run: Path, tmp_path: Path, outside: Outside, attempt: str) -> None:
    image = _archive(tmp_path, _ATTEMPTS[attempt](str(outside.folder)))

    try:
        with Sandbox(image):
            pass
    except ImageError as refused:
        # The error names the entry, so that its maker can be told.
        assert any(name in str(refused) for name, _, _ in _ATTEMPTS[attempt](str(outside.folder))), refused  # noqa: PT017

    outside.check()
    inodes = {path.lstat().st_ino for path in (own_run / "cache").rglob("*")}
    assert outside.file.stat().st_ino not in inodes


@pytest.mark.parametrize("name", ["../x", "etc/../../x", "/../x"])
def test_the_error_names_the_entry_that_leads_out_and_nothing_is_kept(own_run: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError) as refused:
        Sandbox(_archive(tmp_path, [("etc/good", _FILE, "x"), (name, _FILE, "evil")]))

    assert repr(name) in str(refused.value)
    assert [path.name for path in (own_run / "cache" / "lxsandbox" / "roots").iterdir() if path.is_dir()] == []


def test_devices_and_set_user_id_files_of_an_archive_reach_nothing(own_run: Path, tmp_path: Path) -> None:
    def as_devices(entry: tarfile.TarInfo) -> None:
        entry.mode, entry.devmajor, entry.devminor = 0o6777, 1, 3

    entries = [("null", tarfile.CHRTYPE, ""), ("disk", tarfile.BLKTYPE, ""), ("setuid", _FILE, "x")]

    with Sandbox(_archive(tmp_path, entries, change=as_devices)) as sandbox:
        for name in ("null", "disk"):
            with pytest.raises(OSError):  # noqa: PT011 - absent for a plain user, refused by the kernel for root
                sandbox.path(f"/{name}").read_bytes()

    # What others could start or open lies behind a folder that they cannot enter.
    assert (own_run / "cache" / "lxsandbox").stat().st_mode & 0o077 == 0


@needs("root")
def test_another_user_of_the_host_cannot_start_a_set_user_id_file_of_the_store(own_run: Path, tmp_path: Path) -> None:
    def set_user_id(entry: tarfile.TarInfo) -> None:
        entry.mode = 0o6777

    Sandbox(_archive(tmp_path, [("setuid", _FILE, "#!/bin/sh\n")], change=set_user_id)).close()
    own_run.chmod(0o755)
    (stored,) = (own_run / "cache").rglob("setuid")
    assert stored.stat().st_mode & 0o4000, "the bit is gone: the attempt is none"

    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os._exit(0 if os.access(stored, os.X_OK) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


@pytest.mark.parametrize("field", ["size", "offset", "time", "owner"])
def test_a_header_that_makes_no_sense_is_refused_and_hangs_nothing(tmp_path: Path, field: str) -> None:
    good = tarfile.TarInfo("etc/file")
    header = bytearray(good.tobuf(tarfile.GNU_FORMAT))
    negative = b"\xff" * 12  # base-256: minus one
    if field == "size":
        header[124:136] = negative
    elif field == "offset":  # CVE-2025-8194: back to this very header, for ever
        header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT))
        header[124:136] = b"\xff" * 10 + b"\xfe\x00"
    elif field == "time":
        header[136:148] = b"\x80" + b"\x7f" * 11
    else:
        header[108:116] = b"\x80" + b"\x7f" * 7
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    (tmp_path / "root.tar").write_bytes(bytes(header) + bytes(1024))

    with pytest.raises(ImageError):
        Sandbox(f"tar:{tmp_path / 'root.tar'}").close()
