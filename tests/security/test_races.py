"""Classes 3 and 8 of the threat model: what is tried in the moment between two steps of ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from security.attack import ambush
from security.conftest import Outside

from lxsandbox import Sandbox, SandboxError

pytestmark = pytest.mark.security

# Looks at every process that still is init's clone, which its command line shows, and tries to get at init's memory and files.
_AMBUSH = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def command(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()
seen, breached, known = 0, [], {1, os.getpid()}
init = command(1)
print("ready", flush=True)
while not os.path.exists("/tmp/enough"):
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in known):
        got = []
        try:
            if command(pid) != init:
                known.add(pid)
                continue
            seen += 1
            for name in ("mem", "root/etc", "cwd/etc", "fd/0", "exe", "ns/mnt", "environ"):
                try:
                    fd = os.open(f"/proc/{pid}/{name}", os.O_RDWR if name == "mem" else os.O_RDONLY)
                except OSError:
                    continue
                got.append(name)
                os.close(fd)
            if libc.ptrace(0x4206, pid, 0, 0) == 0:
                got.append("ptrace")
            if command(pid) == init:  # else it was the command by then, which is the sandbox's own
                breached += got
        except OSError:
            continue
        finally:
            if "ptrace" in got:
                os.waitpid(pid, 0x40000000)  # __WALL: what is traced is its tracer's to reap first
print(seen, *breached)
"""


def test_a_process_on_its_way_into_the_sandbox_cannot_be_seized(make_sandbox: Callable[..., Sandbox]) -> None:
    seen, breached = ambush(make_sandbox, _AMBUSH, starts=150)

    assert breached == []
    assert seen > 0, "no process was met on its way: the attempt was none"


# renameat2 with RENAME_EXCHANGE: at every moment `x` is one or the other, never missing.
_SWAP = """
import ctypes
libc = ctypes.CDLL(None)
print("ready", flush=True)
while True:
    libc.renameat2(-100, b"/tmp/a/x", -100, b"/tmp/a/y", 2)
"""


@contextmanager
def _swapping(sandbox: Sandbox, outside: Outside) -> Iterator[None]:
    """All the while, /tmp/a/x turns from a folder into a link to `outside` and back."""
    script = f"mkdir -p /tmp/a/x; echo inside > /tmp/a/x/file; ln -s {outside.folder} /tmp/a/y"
    sandbox.run(["sh", "-c", script], check=True)
    with sandbox.popen([sys.executable, "-I", "-S", "-c", _SWAP]) as swapping:
        assert swapping.stdout is not None
        try:
            swapping.stdout.readline()
            yield
        finally:
            swapping.kill()


def test_copies_stay_inside_while_a_folder_turns_into_a_link(sandbox: Sandbox, tmp_path: Path, outside: Outside) -> None:
    (tmp_path / "new").write_text("from outside")
    taken = refused = 0
    with _swapping(sandbox, outside):
        for number in range(1000):
            copy = tmp_path / f"copy{number}"
            with suppress(OSError, SandboxError):
                sandbox.copy_in(tmp_path / "new", "/tmp/a/x/new")
            try:
                sandbox.copy_out("/tmp/a/x/file", copy)
            except (OSError, SandboxError):
                refused += 1
                continue
            taken += 1
            assert copy.read_text() == "inside\n"

    assert taken > 20, "the link was always in the way: the attempt was none"
    assert refused > 20, "the link was never in the way: the attempt was none"


def test_a_tree_copied_out_while_it_changes_brings_nothing_of_the_host(
    sandbox: Sandbox, tmp_path: Path, outside: Outside
) -> None:
    with _swapping(sandbox, outside):
        for number in range(100):
            copy = tmp_path / f"tree{number}"
            with suppress(OSError, SandboxError):
                sandbox.copy_out("/tmp/a", copy)
            files = [path for path in copy.rglob("file") if not path.parent.is_symlink()]
            assert all(path.read_text() == "inside\n" for path in files)


def test_a_second_copy_does_not_write_through_a_link_that_the_first_one_brought(
    sandbox: Sandbox, tmp_path: Path, outside: Outside
) -> None:
    sandbox.run(["sh", "-c", f"mkdir /tmp/a; ln -s {outside.folder} /tmp/a/x; ln -s {outside.file} /tmp/a/f"], check=True)
    sandbox.copy_out("/tmp/a", tmp_path / "copy")
    assert (tmp_path / "copy" / "a" if (tmp_path / "copy" / "a").exists() else tmp_path / "copy").joinpath("f").is_symlink()
    sandbox.run(["sh", "-c", "cd /tmp/a; rm x f; mkdir x; echo evil > x/file; echo evil > f; chmod 4777 f x/file"], check=True)

    for target in (tmp_path, tmp_path / "copy"):
        with suppress(OSError, SandboxError):
            sandbox.copy_out("/tmp/a", target)
        with suppress(OSError, SandboxError):
            sandbox.copy_out("/tmp/a/f", target)

    copies = [path for path in tmp_path.rglob("f") if path.is_file() and not path.is_symlink()]
    assert copies
    assert not any(path.stat().st_mode & 0o7000 for path in copies)


def test_a_name_that_leads_out_is_no_way_out_of_a_copy(sandbox: Sandbox, tmp_path: Path, outside: Outside) -> None:
    (tmp_path / "new").write_text("from outside")
    sandbox.run(["ln", "-s", f"/..{outside.file}", "/tmp/link"], check=True)

    with suppress(OSError):
        sandbox.copy_in(tmp_path / "new", f"/tmp/../../../../../..{outside.folder}/new")
    with suppress(OSError):
        sandbox.copy_in(tmp_path / "new", "/tmp/link")
    with pytest.raises(OSError):  # noqa: PT011 - the sandbox has no such file
        sandbox.copy_out(f"/proc/1/root{outside.folder}/below", tmp_path / "stolen")
