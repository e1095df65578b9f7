"""No space: in a sandbox it is the command's own error; on the host it is one clear error, and both can be got over."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.runs import Runs
from needs import needs

from lxsandbox.sandbox.sandbox import Sandbox
from lxsandbox.spec import Tmpfs

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp")

# Sandboxes of a run whose folder is on a file system of these options, in a mount namespace that ends with the program.
ON_A_SMALL_FILE_SYSTEM = """
set -e; mount -t tmpfs -o mode=700,{options} small "$1"; export LXSANDBOX_RUNTIME_DIR="$1/runs"; mkdir -m 700 "$1/runs"
{before}
"$2" -c "$3"; find "$1/runs" -mindepth 1
"""
ONE_SANDBOX = """
import os, sys
from lxsandbox import Sandbox, SandboxError
try:
    with Sandbox() as box:
        print(box.check_output(["echo", "ran"]).strip())
except SandboxError as error:
    print(type(error).__name__, error.message)
    print(*getattr(error, "__notes__", ()))
"""


@pytest.mark.parametrize("path", ["/root/file", "/tmp/file", "/usr/file", "/dev/shm/file", "/small/file"])
def test_a_full_disk_inside_is_enospc_and_the_sandbox_lives_on(runs: Runs, path: str) -> None:
    with Sandbox(disk="8M", mounts=[Tmpfs("/small", "8M")]) as box:
        done = box.run(["dd", "if=/dev/zero", f"of={path}", "bs=1M", "count=512"])
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        box.run(["rm", path], check=True)
        box.path(path).write_text("again")
        assert box.path(path).read_text() == "again"


def test_a_file_written_from_outside_into_a_full_disk_is_enospc_too(runs: Runs, tmp_path: Path) -> None:
    with Sandbox(disk="8M") as box:
        with pytest.raises(OSError, match="No space left on device"):
            box.path("/tmp/file").write_bytes(bytes(32 << 20))
        (tmp_path / "big").write_bytes(bytes(32 << 20))
        with pytest.raises(OSError, match="No space left on device"):
            box.copy_in(tmp_path / "big", "/tmp/big")
        box.run(["rm", "-f", "/tmp/file", "/tmp/big"], check=True)
        box.path("/tmp/file").write_text("again")


def test_many_small_files_end_in_an_error_too(runs: Runs) -> None:
    with Sandbox(disk="4M") as box:
        done = box.run(["sh", "-c", "cd /tmp; i=0; while echo > $i; do i=$((i+1)); done"], timeout=60)
        assert "No space left" in done.stderr
        box.run(["true"], check=True)


def _on_a_small_file_system(folder: Path, options: str, before: str = "") -> list[str]:
    script = ON_A_SMALL_FILE_SYSTEM.format(options=options, before=before)
    command = ["unshare", "--user", "--map-root-user", "--mount", "--fork", "sh", "-c", script, "sh", str(folder)]
    done = subprocess.run([*command, sys.executable, ONE_SANDBOX], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for that of a socket, which unix(7) bounds to 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="lx-", dir="/tmp") as folder:
        yield Path(folder)


@needs("unshare")
def test_a_run_folder_on_a_small_file_system_does(runs: Runs, short_folder: Path) -> None:
    assert _on_a_small_file_system(short_folder, "size=256k") == ["ran"]


@needs("unshare")
@pytest.mark.parametrize("options", ["size=4k", "nr_inodes=3", "nr_inodes=4", "nr_inodes=5", "nr_inodes=6"])
def test_a_run_folder_on_a_full_file_system_is_one_clear_error(runs: Runs, short_folder: Path, options: str) -> None:
    full = 'dd if=/dev/zero of="$1/filler" bs=4k status=none 2>/dev/null || true'
    lines = _on_a_small_file_system(short_folder, options, before=full if options.startswith("size") else "")
    if lines != ["ran"]:  # with this number of files it was enough
        assert "No space left on device" in lines[0]
        assert "hint: " in lines[1]
        assert lines[2:] == []
