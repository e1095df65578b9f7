"""Images that are an archive: unpacked once, and never trusted."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs
from rootfs_real.busybox import COMPRESS, entry, make_tar

from lxsandbox import ImageError, Sandbox
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs", "busybox")

Start = Callable[[Path], Sandbox]


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, place: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    return place / "cache" / "lxsandbox"


@pytest.fixture
def start(cache: Path, connection: ServiceConnection) -> Start:
    """A sandbox over an archive, by a service whose cache is the test's."""
    return lambda file: Sandbox(f"tar:{file}", connection=connection)


@pytest.fixture(autouse=True)
def _cache_is_removed(cache: Path) -> object:
    yield
    if os.geteuid() == 0 or not cache.exists():
        return
    # Unpacked with ids that this user cannot touch from outside of a user namespace that maps them.
    subprocess.run(["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", cache], check=False)


def unpacked(cache: Path) -> list[Path]:
    """The unpacked roots, whole or not."""
    folder = cache / "roots"
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.exists() else []


@pytest.mark.parametrize("kind", sorted(COMPRESS))
def test_an_archive_is_an_image_however_compressed_and_named(root: Path, place: Path, start: Start, kind: str) -> None:
    file = make_tar(place / f"image.{kind}", root, text=kind)
    file = file.rename(place / "image")

    with start(file) as box:
        assert box.check_output(["sh", "-c", "echo $(cat /text)"]) == f"{kind}\n"
        assert box.check_output(["stat", "-c", "%u:%g %a", "/bin/busybox"]).startswith("0:0 ")


def test_it_is_unpacked_once(root: Path, place: Path, start: Start, cache: Path) -> None:
    file = make_tar(place / "image.tar", root)

    with start(file) as one, start(file) as other:
        (folder,) = unpacked(cache)
        one.path("/new").write_text("")
        assert not other.path("/new").exists()
    assert unpacked(cache) == [folder]


def test_two_processes_at_once_unpack_it_once_too(root: Path, place: Path, cache: Path) -> None:
    file = make_tar(place / "image.gz", root, text="x")
    code = f"from lxsandbox import Sandbox\nwith Sandbox('tar:{file}') as box: print(box.path('/text').read_text())"
    environment = {**os.environ, "PYTHONPATH": ":".join(path for path in sys.path if path)}

    running = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]

    assert [process.communicate(timeout=60)[0] for process in running] == ["x\n", "x\n"]
    assert len(unpacked(cache)) == 1


def test_a_changed_archive_is_unpacked_anew(root: Path, place: Path, start: Start, cache: Path) -> None:
    with start(make_tar(place / "image.tar", root, text="old")) as box:
        assert box.path("/text").read_text() == "old"
    with start(make_tar(place / "image.tar", root, text="new")) as box:
        assert box.path("/text").read_text() == "new"

    assert len(unpacked(cache)) == 2


@pytest.mark.parametrize("kind", sorted(COMPRESS))
def test_an_archive_cut_short_leaves_nothing(root: Path, place: Path, start: Start, cache: Path, kind: str) -> None:
    file = make_tar(place / f"image.{kind}", root)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    with pytest.raises(ImageError, match="image"):
        start(file)
    assert unpacked(cache) == []


@pytest.mark.parametrize("data", [b"", b"no archive at all" * 100, b"\x1f\x8b" + b"x" * 100, b"\x28\xb5\x2f\xfd" + b"x" * 100])
def test_what_is_no_archive_is_refused_and_leaves_nothing(place: Path, start: Start, cache: Path, data: bytes) -> None:
    (place / "image").write_bytes(data)

    with pytest.raises(ImageError, match="image"):
        start(place / "image")
    assert unpacked(cache) == []


def test_an_archive_that_is_not_there_is_named(start: Start) -> None:
    with pytest.raises(ImageError, match="/no/such is not a file"):
        start(Path("/no/such"))


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/../out"])
def test_an_entry_that_leads_out_is_refused_by_name(root: Path, place: Path, start: Start, cache: Path, name: str) -> None:
    file = make_tar(place / "image.tar", root, more=(entry(name),))

    with pytest.raises(ImageError, match="leads out of the root"):
        start(file)
    assert unpacked(cache) == []
    assert not (cache / "roots" / "out").exists()


def test_an_entry_below_a_link_stays_below_the_root(root: Path, place: Path, start: Start) -> None:
    victim = place / "victim"
    victim.mkdir(mode=0o777)
    victim.chmod(0o777)
    link = entry("link", type=tarfile.SYMTYPE, linkname=str(victim))
    file = make_tar(place / "image.tar", root, more=(link, entry("link/x")))
    try:
        start(file).close()
    except ImageError:
        pass  # refused: also right

    assert os.listdir(victim) == []


def test_a_hard_link_to_a_file_of_the_host_is_refused(root: Path, place: Path, start: Start, cache: Path) -> None:
    file = make_tar(place / "image.tar", root, more=(entry("stolen", type=tarfile.LNKTYPE, linkname="etc/passwd"),))

    with pytest.raises(ImageError, match="image"):
        start(file)
    assert unpacked(cache) == []


@needs("id-range")
def test_owners_modes_and_kinds_come_through(root: Path, place: Path, start: Start) -> None:
    more = (
        entry("owned", uid=1000, gid=1001, mode=0o4711),
        entry("folder", type=tarfile.DIRTYPE, mode=0o1777, uid=5),
        entry("pipe", type=tarfile.FIFOTYPE, mode=0o600),
        entry("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        entry("hard", type=tarfile.LNKTYPE, linkname="owned"),
    )
    with start(make_tar(place / "image.tar", root, more=more)) as box:
        shown = box.check_output(["stat", "-c", "%n %u:%g %a %F", "/owned", "/hard", "/folder", "/pipe"]).splitlines()

    assert shown[0] == "/owned 1000:1001 4711 regular empty file"
    assert shown[1] == "/hard 1000:1001 4711 regular empty file"
    assert shown[2] == "/folder 5:0 1777 directory"
    assert shown[3] == "/pipe 0:0 600 fifo"
