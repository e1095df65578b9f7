"""Places outside that nothing inside may touch, root folders that can be started, and runs with a service of their own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lxsandbox import Bind


class Outside:
    """A folder of the host beside the sandbox, with something in it: `check()` fails when anything about it has changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o750)
        self.file = folder / "file"
        self.file.write_text("of the host\n")
        (folder / "below").mkdir(mode=0o750)
        self._before = self._look()

    def _look(self) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for path in (self.folder, *sorted(self.folder.rglob("*"))):
            now = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found.append((str(path), now.st_mode, now.st_uid, now.st_nlink, now.st_mtime_ns, now.st_ctime_ns, content))
        return found

    def check(self) -> None:
        assert self._look() == self._before


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    """A folder of the host that must be as it was when the test is over."""
    made = Outside(tmp_path / "outside")
    yield made
    made.check()


class RootFolder:
    """A root for `dir:`, nearly empty; the host's programs are bound into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = f"dir:{folder}"
        self.mounts = [Bind("/usr", "/usr")]
        folder.mkdir()
        for name in ("bin", "lib", "lib64", "sbin"):
            if os.path.islink(f"/{name}"):
                (folder / name).symlink_to(f"usr/{name}")
            else:
                self.mounts.append(Bind(f"/{name}", f"/{name}"))


@pytest.fixture
def root_folder(tmp_path: Path) -> RootFolder:
    """The folder of an image that the test makes hostile."""
    return RootFolder(tmp_path / "root")


@pytest.fixture
def own_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`Sandbox(...)` starts a service for this test alone, with its runs and its cache below this folder.

    Not `tmp_path`, which is too long for the name of a socket (unix(7): 108 bytes).
    """
    with tempfile.TemporaryDirectory(prefix="lx-") as name:
        (Path(name) / "runs").mkdir(mode=0o700)
        monkeypatch.setenv("LXSANDBOX_RUNTIME_DIR", f"{name}/runs")
        monkeypatch.setenv("XDG_CACHE_HOME", f"{name}/cache")
        yield Path(name)
