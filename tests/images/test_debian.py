"""`mmdebstrap:SUITE`: a Debian system from the mirror, made once, and from then on an image like any other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from events import until
from needs import needs

from lxsandbox import ImageError
from lxsandbox.images.debian_reference import DebianReference
from lxsandbox.images.library import Library
from lxsandbox.images.store import Store

SMALL = DebianReference(suite="bookworm", variant="essential")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """A store of the test's own; what mmdebstrap makes lies in memory, where it takes a third of the time."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Library(Store(str(tmp_path / "store")))


@needs("mmdebstrap", "id-range")
@pytest.mark.timeout(600)
def test_a_debian_system_is_made_once(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    with library.get(SMALL) as first:
        assert len(first.config.diff_ids) == 1
        assert "mmdebstrap:bookworm" in first.config.history[0].created_by

    monkeypatch.setenv("PATH", "/nowhere")
    with library.get(SMALL, offline=True) as second:
        assert second.descriptor == first.descriptor


@needs("mmdebstrap", "id-range")
@pytest.mark.timeout(600)
def test_processes_that_want_one_system_make_it_once(library: Library, tmp_path: Path) -> None:
    code = "import sys; from lxsandbox.images import library, store\n"
    code += "lib = library.Library(store.Store(sys.argv[1])); print(lib.get(lib.parse(sys.argv[2])).descriptor.digest)"
    tool = tmp_path / "bin" / "mmdebstrap"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho made >> {tmp_path}/made\nexec {shutil.which("mmdebstrap")} "$@"\n')
    tool.chmod(0o755)
    path = f"{tool.parent}:{os.environ['PATH']}"

    asking = [
        subprocess.Popen(
            [sys.executable, "-c", code, library.store.folder, str(SMALL)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PATH": path},
        )
        for _ in range(3)
    ]
    digests = {process.communicate()[0] for process in asking}

    assert (tmp_path / "made").read_text() == "made\n"
    assert len(digests) == 1
    assert next(iter(digests)).startswith(b"sha256:")


@needs("mmdebstrap", "id-range")
def test_whoever_makes_one_and_is_killed_leaves_nothing_that_runs(library: Library) -> None:
    code = "import sys; from lxsandbox.images import library, store\n"
    code += "lib = library.Library(store.Store(sys.argv[1])); lib.get(lib.parse(sys.argv[2]))"
    with subprocess.Popen([sys.executable, "-c", code, library.store.folder, str(SMALL)]) as process:
        folder = Path(tempfile.gettempdir())
        until(lambda: list(folder.glob("mmdebstrap.*/var/cache/apt/archives/*.deb")), "it has fetched packages")
        process.kill()
    until(lambda: not list(folder.glob("mmdebstrap.*")), "it has removed its folder")

    library.store.prune()
    assert not list(Path(library.store.folder, "fetching").glob("new-*"))


@needs("mmdebstrap", "id-range")
@pytest.mark.timeout(600)
def test_a_package_that_there_is_not_is_told_by_mmdebstraps_own_words(library: Library) -> None:
    with pytest.raises(ImageError, match=r"(?s)could not make mmdebstrap:bookworm.*no-such-package"):
        library.get(DebianReference(suite="bookworm", variant="essential", include=("no-such-package",)))
    assert not library.store.names()
    assert os.listdir(tempfile.gettempdir()) == []


def test_without_mmdebstrap_it_says_what_to_install(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(ImageError, match="not installed") as caught:
        library.get(SMALL)
    assert caught.value.hint == "apt install mmdebstrap"


def test_offline_it_is_not_made(library: Library) -> None:
    with pytest.raises(ImageError, match="offline"):
        library.get(SMALL, offline=True)
