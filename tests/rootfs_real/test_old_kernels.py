"""Before Linux 6.5 overlayfs takes its lower folders in one option: no fewer of them are stacked for that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from images.unpack.unpacking import RUNTIME
from needs import needs

pytestmark = needs("user-namespaces", "overlayfs")

# Refuses what those kernels do not know, as they do; the rest is this one's, for which the old option is what it was.
_OVERLAY = """
import errno, os, sys
sys.path.insert(0, sys.argv[1])
from lxsandbox.rootfs import apply
from lxsandbox.syscalls import mounts
new_filesystem = mounts.new_filesystem
def older(kind, options, **fields):
    if any(key == "lowerdir+" for key, _ in options):
        raise OSError(errno.EINVAL, "Invalid argument")
    return new_filesystem(kind, options, **fields)
mounts.new_filesystem = older
folder, count = sys.argv[2], int(sys.argv[3])
os.chdir(folder)
mounts.move_mount(new_filesystem("tmpfs", []), os.open(folder, os.O_PATH))
area = os.open(folder, os.O_PATH)
for name in ("upper", "work", *map(str, range(count))):
    os.mkdir(name, dir_fd=area)
for number in range(count):
    for name in ("all", f"only-{number}"):
        with open(os.open(f"{number}/{name}", os.O_WRONLY | os.O_CREAT, dir_fd=area), "w") as file:
            file.write(str(number))
made = apply._new_overlay(area, [str(number) for number in range(count)])
assert os.getcwd() == folder
assert "merged" not in open("/proc/self/mountinfo").read()
os.fchdir(made)
assert open("all").read() == "0", "the uppermost"
assert len(os.listdir(".")) == count + 1
open("new", "w").write("x")
assert os.listdir(f"/proc/self/fd/{area}/upper") == ["new"]
print("made")
"""


@pytest.mark.parametrize("count", [1, 12, 130, 500])
def test_as_many_layers_are_stacked(tmp_path: Path, count: int) -> None:
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-I", "-c", _OVERLAY]
    done = subprocess.run([*command, RUNTIME, str(tmp_path), str(count)], capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout, done.stderr) == ("made\n", "")
