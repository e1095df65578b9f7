"""Delay, jitter, duplicates, damage and reordering: proven by canaries on a kernel that has netem, whatever this one has.

It is user-mode Linux: Debian's kernel 6.1 as a process, with the host's files as its root, read-only.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from distributions.in_netem_kernel import SHAPES
from needs import needs

import lxsandbox

pytestmark = [
    needs("root", "apt-get", "dpkg"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="user-mode Linux is for x86 alone"),
]

# How tc(8) shows what is asked for.
SAID = {
    "delay": "delay", "jitter": "ms", "duplicate": "duplicate", "corrupt": "corrupt", "reorder": "reorder", "rate": "ate",
}  # fmt: skip


@pytest.fixture
def kernel(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """The unpacked package. It has 41 MB, and stays in pytest's cache."""
    assert pytestconfig.cache is not None
    packages = pytestconfig.cache.mkdir("packages")
    if not list(packages.glob("user-mode-linux_*.deb")):
        subprocess.run(["apt-get", "download", "user-mode-linux"], cwd=packages, check=True, capture_output=True)
    (package,) = packages.glob("user-mode-linux_*.deb")
    subprocess.run(["dpkg", "-x", package, tmp_path], check=True)
    return tmp_path


def test_every_shape_is_there_and_proven_where_the_kernel_has_netem(kernel: Path, tmp_path: Path) -> None:
    runtime = Path(lxsandbox.__file__).resolve().parent.parent
    program = Path(__file__).with_name("in_netem_kernel.py")
    init = tmp_path / "init"
    init.write_text(f"#!/bin/sh\nexec {sys.executable} {program} {runtime} {kernel}/usr/lib/uml/modules\n")
    init.chmod(0o755)
    options = ["mem=256M", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}", "con=null", "con0=null,fd:1", "quiet"]

    done = subprocess.run(
        [kernel / "usr/bin/linux.uml", *options, f"uml_dir={tmp_path}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"TMPDIR": "/tmp"},
    )  # fmt: skip

    seen = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"shape"')]
    assert [each["shape"] for each in seen] == SHAPES, done.stdout
    for each in seen:
        asked = set(each["shape"]) - {"loss"}
        kind = "tbf" if asked == {"rate"} else "netem"
        assert each["queues"] == [kind, kind]
        (line,) = each["tc"]  # of the hub's end; the other is in the member's network
        assert f"qdisc {kind} " in line
        assert all(SAID[name] in line for name in asked)
        assert kind not in each["left"]
