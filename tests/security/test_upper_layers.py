"""What a sandbox writes is stored in folders that init holds open, beside the root: no way leads to them from inside.

Whoever had one could undo what hides the host's secrets, and write to the layer under the kernel's feet.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from security.attack import ambush, attempt
from security.conftest import Outside

from lxsandbox import Sandbox, SandboxError

pytestmark = pytest.mark.security

# Tries every descriptor of init, by name, by pidfd_getfd(2) and by what fdinfo tells.
_TAKE = """
pidfd = libc.syscall(ctypes.c_long(434), 1, 0)
print("pidfd" if pidfd >= 0 else "no pidfd")
for number in range(128):
    path = f"/proc/1/fd/{number}"
    print(call(438, pidfd, number, 0), tried(os.open, path, os.O_PATH), tried(os.listdir, path), tried(os.chdir, path + "/.."))
    print(tried(open, f"/proc/1/fdinfo/{number}"), tried(os.open, f"/proc/1/task/1/fd/{number}", os.O_PATH))
"""

# Looks at each process that still is init's clone, on its way to exec, and takes what descriptors of it can be taken.
_AMBUSH = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def command(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()
seen, taken, known = 0, set(), {1, os.getpid()}
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
            pidfd = libc.syscall(ctypes.c_long(434), pid, 0)
            for number in range(3, 40):
                try:
                    os.close(os.open(f"/proc/{pid}/fd/{number}", os.O_PATH))
                    got.append(f"fd/{number}")
                except OSError:
                    pass
                fd = libc.syscall(ctypes.c_long(438), pidfd, number, 0)
                if fd >= 0:
                    got.append(f"getfd/{number}")
                    os.close(fd)
            if pidfd >= 0:
                os.close(pidfd)
            if command(pid) == init:
                taken.update(got)
        except OSError:
            continue
print(seen, *sorted(taken))
"""


def test_root_inside_cannot_take_a_descriptor_of_init(sandbox: Sandbox) -> None:
    result = attempt(sandbox, _TAKE).split()

    assert set(result) <= {"no", "pidfd", "EPERM", "EACCES", "ENOENT", "EBADF", "ENOSYS"}, set(result)
    assert "EACCES" in result


def test_a_process_on_its_way_to_exec_gives_none_away(make_sandbox: Callable[..., Sandbox]) -> None:
    seen, taken = ambush(make_sandbox, _AMBUSH, starts=100)

    assert taken == []
    assert seen > 0, "no process was met on its way: the attempt was none"


def test_a_command_inherits_none(sandbox: Sandbox) -> None:
    show = "import os; print(*sorted(int(n) for n in os.listdir('/proc/self/fd')))"
    for options in ({}, {"user": "0:0", "env": {"A": "b"}}):
        numbers = sandbox.run([sys.executable, "-S", "-c", show], **options).stdout.split()
        assert len(numbers) == 4, numbers  # the three, and the one that lists them


def test_a_link_to_a_descriptor_of_init_leads_a_request_nowhere(sandbox: Sandbox) -> None:
    sandbox.diff()
    for number in range(3, 40):
        link = f"/tmp/link{number}"
        sandbox.path(link).symlink_to(f"/proc/self/fd/{number}")
        for path in (link, f"{link}/work", f"/proc/self/fd/{number}", f"/proc/1/fd/{number}"):
            with pytest.raises(OSError):  # noqa: PT011 - refused, or nothing is there
                list(sandbox.path(path).iterdir())
            with pytest.raises(OSError):  # noqa: PT011
                sandbox.run(["true"], cwd=path)


def test_no_client_gets_them_from_init(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="only the service"):
        sandbox._control.request("uppers")


def test_links_that_a_sandbox_made_lead_out_of_neither_list_nor_layer(sandbox: Sandbox, outside: Outside) -> None:
    script = f"mkdir /tmp/a; ln -s {outside.folder} /tmp/a/folder; ln -s {outside.file} /tmp/a/file; ln -s / /tmp/a/root"
    sandbox.run(["sh", "-c", script], check=True)

    found = {change.path for change in sandbox.diff() if change.path.startswith("/tmp/a")}
    assert found == {"/tmp/a", "/tmp/a/folder", "/tmp/a/file", "/tmp/a/root"}


_SWAP = """
import ctypes, os
libc = ctypes.CDLL(None)
os.makedirs("/tmp/a/x/deep"), open("/tmp/a/x/deep/file", "w").close(), os.symlink("/", "/tmp/a/y")
print("ready", flush=True)
while True:
    libc.renameat2(-100, b"/tmp/a/x", -100, b"/tmp/a/y", 2)
"""


def test_a_folder_that_turns_into_a_link_all_the_while_shows_nothing_of_the_host(sandbox: Sandbox) -> None:
    places = {"/tmp/a", "/tmp/a/x", "/tmp/a/y"} | {f"/tmp/a/{name}{rest}" for name in "xy" for rest in ("/deep", "/deep/file")}
    with sandbox.popen([sys.executable, "-I", "-S", "-c", _SWAP]) as swapping:
        assert swapping.stdout is not None
        try:
            swapping.stdout.readline()
            for _ in range(50):
                found = {change.path for change in sandbox.diff()}
                assert found <= places | {"/tmp"}
                assert len(found) == 5
        finally:
            swapping.kill()


def test_marks_that_a_sandbox_sets_itself_hide_nothing(sandbox: Sandbox) -> None:
    sandbox.run(["sh", "-c", "mkdir /tmp/a; touch /tmp/a/b /tmp/a/c"], check=True)
    attempt(
        sandbox,
        """
        tried(os.setxattr, "/tmp/a", "user.overlay.opaque", b"y")
        tried(os.setxattr, "/tmp/a/b", "user.overlay.whiteout", b"y")
        tried(os.mknod, "/tmp/a/d", 0o020000, 0)
        """,
    )

    # An overlay refuses the device; a plain user's /tmp is none.
    assert {"/tmp/a", "/tmp/a/b", "/tmp/a/c"} == {change.path for change in sandbox.diff()} - {"/tmp/a/d"}
