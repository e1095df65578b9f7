"""Images: how long one takes from an archive to a root, over how many layers a sandbox starts, and what keeping its files takes.

The stores of these measurements lie in memory: a disk that takes half a millisecond for each small file would be all they show.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from lab import Lab
from table import Section, row
from timing import Contestant, in_turn

from lxsandbox import Sandbox

__all__ = ["measure_images", "measure_snapshots"]

_MEMORY_FOLDER = "/dev/shm"
_CACHE = "XDG_CACHE_HOME"
_PACKAGES = "perl,python3-minimal,openssl,ca-certificates"
_TAR, _UMOCI = "tar -xzf", "umoci unpack"
_IMPORT, _ROOT = "image import", "a root for a sandbox"
_ONE, _TEN = "1 layer", "10 layers"
_LAYERS = 10
_SNAPSHOT, _FORK, _RESET = "snapshot + fork", "fork", "reset"
_WRITTEN_FILES, _FILE_BYTES = 50, 1_000_000


def measure_images(rounds: int) -> Section:
    """A Debian root, from a compressed archive to a store, and to a sandbox; beside others that unpack such things."""
    title = "A Debian root from an archive"
    missing = [name for name in ("mmdebstrap", "gzip") if shutil.which(name) is None]
    if missing:
        return Section(title=title, about=_ABOUT_IMAGES, rows=[], absent=[f"all of it ({' and '.join(missing)} not installed)"])
    with _store_in_memory() as folder:
        archive = folder / "root.tar.gz"
        unpacked_bytes = _make_debian(archive)
        target = folder / "unpacked"

        @contextmanager
        def nothing_there() -> Generator[None]:
            yield
            for left in (target, folder / "lxsandbox"):
                shutil.rmtree(left, ignore_errors=True)

        @contextmanager
        def a_service() -> Generator[None]:
            with nothing_there():
                runs.append(Lab())
                yield
                runs.pop().close()

        def tar() -> None:
            target.mkdir()
            _run(["tar", "-xzf", str(archive), "-C", str(target)])

        runs: list[Lab] = []

        def a_root() -> None:
            Sandbox(f"tar:{archive}", connection=runs[0].connection).close()

        contestants = [
            Contestant(name=_TAR, once=tar, around=nothing_there),
            Contestant(name=_IMPORT, once=lambda: _import(archive), around=nothing_there),
            Contestant(name=_ROOT, once=a_root, around=a_service),
        ]
        absent: list[str] = []
        if shutil.which("umoci") is None:
            absent.append(f"{_UMOCI} (not installed)")
        else:
            layout = _export(archive, folder)
            unpack = ["umoci", "unpack", *(["--rootless"] if os.geteuid() else []), "--image", layout, str(target)]
            contestants.append(Contestant(name=_UMOCI, once=lambda: _run(unpack), around=nothing_there))
        taken = in_turn(contestants, rounds, warm_up=1)
    rows = [row(taken, _TAR), row(taken, _IMPORT, peer=_TAR, ratio_at_most=0.6), row(taken, _ROOT, peer=_TAR, ratio_at_most=0.6)]
    if not absent:
        rows += [row(taken, _UMOCI, peer=_TAR), row(taken, _ROOT, peer=_UMOCI, ratio_at_most=0.4)]
    return Section(title=title, about=f"{_ABOUT_IMAGES} {unpacked_bytes / 1e6:.0f} MB unpacked.", rows=rows, absent=absent)


def _make_debian(archive: Path) -> int:
    """The root at `archive`; how large it is uncompressed."""
    plain = archive.with_suffix("")
    made = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={_PACKAGES}", "bookworm", str(plain)]
    subprocess.run(made, check=True, capture_output=True, env={**os.environ, "TMPDIR": str(archive.parent)})
    size = plain.stat().st_size
    _run(["gzip", "-6", str(plain)])
    return size


def _export(archive: Path, folder: Path) -> str:
    """The same root as an image layout, for umoci."""
    _import(archive)
    layout = f"{folder}/layout"
    _run(["lxsandbox", "image", "export", "debian:bench", f"oci:{layout}:bench"])
    shutil.rmtree(folder / "lxsandbox")
    return f"{layout}:bench"


def _import(archive: Path) -> None:
    _run(["lxsandbox", "image", "import", str(archive), "debian:bench"])


def measure_snapshots(rounds: int) -> Sequence[Section]:
    """Sandboxes over one layer and over ten; and what it takes to keep what one has written, and to be rid of it."""
    with _store_in_memory() as folder:
        lab = Lab()
        try:
            return [_measure_layers(lab, rounds, folder), _measure_kept(lab, rounds)]
        finally:
            lab.close()


def _measure_layers(lab: Lab, rounds: int, folder: Path) -> Section:
    title = "Over one layer and over ten"
    busybox = shutil.which("busybox")
    if busybox is None:
        return Section(title=title, about=_ABOUT_LAYERS, rows=[], absent=["all of it (busybox is not installed)"])
    images = [_layered(lab, busybox, folder / "root", number) for number in (1, _LAYERS)]
    sizes = count(1 << 28, 1 << 16)

    def start(image: str) -> None:
        with Sandbox(image, connection=lab.connection, disk=next(sizes)) as box:
            box.run(["true"], check=True)

    one, ten = images
    taken = in_turn(
        [
            Contestant(name=_ONE, once=lambda: start(one), around=lab.at_rest),
            Contestant(name=_TEN, once=lambda: start(ten), around=lab.at_rest),
        ],
        rounds,
    )
    rows = [row(taken, _ONE), row(taken, _TEN, peer=_ONE, ratio_at_most=1.2)]
    return Section(title=title, about=_ABOUT_LAYERS, rows=rows)


def _layered(lab: Lab, busybox: str, root: Path, number: int) -> str:
    """An image of so many layers: busybox, and over it others with a file each."""
    if not root.exists():
        (root / "bin").mkdir(parents=True)
        shutil.copy2(busybox, root / "bin" / "busybox")
        (root / "bin" / "true").symlink_to("busybox")
        _run(["lxsandbox", "image", "import", str(root), "bench"])
    image = "bench"
    for layer in range(1, number):
        with Sandbox(image, connection=lab.connection) as box:
            box.path(f"/layer-{layer}").write_text(f"{layer}\n")
            image = str(box.snapshot())
    return image


def _measure_kept(lab: Lab, rounds: int) -> Section:
    with lab.usual() as box:
        written = bytearray(os.urandom(_FILE_BYTES))

        @contextmanager
        def all_written() -> Generator[None]:
            written[:16] = os.urandom(16)  # or the store would have it already
            box.path("/kept").mkdir(exist_ok=True)  # the last reset has taken it away
            for number in range(_WRITTEN_FILES):
                box.path(f"/kept/{number}").write_bytes(bytes(written))
            lab.rest()
            yield
            lab.rest()

        def keep() -> None:
            image = box.snapshot()
            with Sandbox(image, connection=lab.connection):
                pass

        taken = in_turn(
            [
                Contestant(name=_SNAPSHOT, once=keep, around=all_written),
                Contestant(name=_FORK, once=lambda: box.fork().close(), around=all_written),
                Contestant(name=_RESET, once=box.reset, around=all_written),
            ],
            min(rounds, 20),
        )
    rows = [row(taken, _SNAPSHOT, median_at_most_ms=150), row(taken, _FORK), row(taken, _RESET, median_at_most_ms=10)]
    return Section(title="What a sandbox has written, kept and undone", about=_ABOUT_KEPT, rows=rows)


@contextmanager
def _store_in_memory() -> Generator[Path]:
    """A folder in memory, where the store is meanwhile."""
    before = os.environ.get(_CACHE)
    with tempfile.TemporaryDirectory(prefix="lxsandbox-bench-", dir=_MEMORY_FOLDER) as folder:
        os.environ[_CACHE] = folder
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ[_CACHE]
            else:
                os.environ[_CACHE] = before


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)


_ABOUT_IMAGES = f"""\
`mmdebstrap --variant=apt --include={_PACKAGES} bookworm`, compressed by `gzip -6`, unpacked below
`{_MEMORY_FOLDER}`. `{_IMPORT}`: the command, which records the archive in the store, its digest and that of its content taken.
`{_ROOT}`: `Sandbox("tar:…")` until it runs, by a service that has started. `{_UMOCI}` has the same root from an image layout."""
_ABOUT_LAYERS = """\
Made, `true` run, closed; of a shape (disk size) that the run has never seen, over busybox alone, and below nine more layers
with a file each."""
_ABOUT_KEPT = f"""\
A sandbox over image `host` that has written {_WRITTEN_FILES} files of {_FILE_BYTES / 1e6:.0f} MB, other ones each time.
`{_SNAPSHOT}`: `snapshot()`, and a sandbox over that started and closed. `{_FORK}`: `fork()`, and the fork closed. `{_RESET}`:
`reset()` of one that has written as much."""
