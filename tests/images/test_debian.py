"""`mmdebstrap:SUITE`: a Debian system from the mirror, made once, and from then on an image like any other."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
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
