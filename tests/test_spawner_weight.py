"""What every init is a copy of: the spawner's memory and modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lxsandbox

MOST_KIB = 14 * 1024
FOREIGN = {"asyncio", "dataclasses", "inspect", "pyroute2", "subprocess", "threading", "typing", "filelock", "logging", "tarfile"}
SHOW = """
import sys
sys.path.insert(0, sys.argv[1])
import lxsandbox.spawner.loop
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")), *sys.modules)
"""


def test_the_spawner_is_small_and_loads_nothing_that_an_init_has_no_use_for() -> None:
    runtime = str(Path(lxsandbox.__file__).parent.parent)
    shown = subprocess.run([sys.executable, "-I", "-S", "-c", SHOW, runtime], capture_output=True, text=True, check=True)
    resident_kib, *modules = shown.stdout.split()

    assert not FOREIGN & set(modules)
    assert not {name for name in modules if name.startswith(("lxsandbox.service", "lxsandbox.sandbox", "lxsandbox.cgroups"))}
    assert int(resident_kib) <= MOST_KIB
