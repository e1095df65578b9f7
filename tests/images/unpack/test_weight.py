"""What unpacks is loaded by a clone of the spawner, for each image anew."""

from __future__ import annotations

import subprocess
import sys

from images.unpack.unpacking import RUNTIME

HEAVY = {"asyncio", "dataclasses", "inspect", "logging", "re", "subprocess", "tarfile", "threading", "typing", "zstandard"}
_SHOW = "import sys; sys.path.insert(0, sys.argv[1]); import lxsandbox.images.unpack; print(*sys.modules)"


def test_it_loads_little() -> None:
    shown = subprocess.run([sys.executable, "-I", "-S", "-c", _SHOW, RUNTIME], capture_output=True, text=True, check=True)
    loaded = set(shown.stdout.split())

    assert not loaded & HEAVY
    ours = {name for name in loaded if name.startswith("lxsandbox.") and not name.startswith("lxsandbox.images")}
    assert ours == {"lxsandbox.rootfs", "lxsandbox.rootfs.removal"}
