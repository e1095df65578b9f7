"""Classes 4, 17 and 18 of the threat model: the host around a sandbox, and the sandbox beside it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from security.attack import attempt
from security.conftest import Outside

from lxsandbox import Sandbox, SandboxError

pytestmark = pytest.mark.security

# Reads all memory that it may of all processes that it sees, but its own, and looks for a text that it does not itself hold.
_SEARCH = """
import os, sys
wanted = bytes.fromhex(sys.argv[1])[::-1]
found = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline", "maps", "stack", "syscall", "auxv"):
        try:
            if wanted in open(f"/proc/{pid}/{name}", "rb").read():
                found.append(f"{pid}/{name}")
        except OSError:
            pass
    try:
        maps, memory = open(f"/proc/{pid}/maps").read().splitlines(), open(f"/proc/{pid}/mem", "rb", 0)
    except OSError:
        continue
    for line in maps:
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        try:
            memory.seek(start)
            if int(pid) != os.getpid() and wanted in memory.read(min(end - start, 1 << 24)):
                found.append(f"{pid}/mem")
        except (OSError, OverflowError, ValueError):
            pass
print(*found)
"""


@pytest.mark.parametrize("given", [{}, {"nesting": True}, {"capabilities": ["+SYS_PTRACE"]}], ids=str)
def test_a_secret_of_the_starting_environment_is_in_no_memory_inside(
    own_run: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    secret = os.urandom(12).hex()
    backwards = secret.encode()[::-1].hex()
    monkeypatch.setenv("CI_DEPLOY_TOKEN", secret)
    with Sandbox(**given) as sandbox:  # starts a service, and so a spawner, from this very environment
        search = [sys.executable, "-I", "-S", "-c", _SEARCH, backwards]
        found = sandbox.check_output(search).split()
        with sandbox.popen(["sh", "-c", "echo up; read _"], env={"GIVEN": secret}) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            found_when_given = sandbox.check_output(search).split()
            holder.kill()

    assert found == []
    assert f"{holder.pid}/environ" in found_when_given, "the search finds nothing: the attempt was none"
    assert f"{holder.pid}/mem" in found_when_given


def test_only_the_terminals_kind_and_the_language_come_from_the_hosts_environment(own_run: Path) -> None:
    with Sandbox() as sandbox:
        names = {line.partition("=")[0] for line in sandbox.check_output(["env"]).splitlines()}

    assert names <= {"PATH", "HOME", "USER", "TERM", "LANG", "PWD", "SHLVL", "_"}


def test_the_hosts_sockets_are_out_of_reach(sandbox: Sandbox, own_run: Path) -> None:
    abstract, named = f"\0lxsandbox-test-{os.getpid()}", str(own_run / "socket")
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second, socket.create_server(("", 0)) as third:
        first.bind(abstract)
        first.listen()
        second.bind(named)
        second.listen()
        port = third.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        result = attempt(
            sandbox,
            f"""
            for name in ({abstract!r}, {named!r}, "/run/dbus/system_bus_socket", "/run/systemd/private", "/var/run/docker.sock"):
                print(tried(socket.socket(socket.AF_UNIX).connect, name))
            for host in ("127.0.0.1", "::1", "10.0.2.2", "169.254.169.254", "8.8.8.8"):
                print(tried(socket.create_connection, (host, {port}), 2))
            """,
        )

    assert set(result.split()) <= {"ECONNREFUSED", "ENOENT", "ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT"}, result


def test_the_hosts_processes_and_the_neighbours_are_out_of_reach(make_sandbox: Callable[..., Sandbox]) -> None:
    sandbox, neighbour = make_sandbox(), make_sandbox()
    with neighbour.popen(["sleep", "600"]) as sleeping:
        seen = attempt(
            sandbox,
            f"""
            print(*[open(f"/proc/{{pid}}/comm").read().strip() for pid in os.listdir("/proc") if pid.isdigit()])
            for pid in (*range(2, 40), {os.getpid()}, {os.getppid()}, {sandbox.pid}, {neighbour.pid}, 4194303):
                if not os.path.exists(f"/proc/{{pid}}"):
                    print(tried(os.kill, pid, 0), tried(os.getpgid, pid), call(434, pid, 0))
            print(tried(os.kill, -1, 9))
            """,
        ).splitlines()
        assert sleeping.poll() is None
        sleeping.kill()

    assert len(seen[0].split()) == 2  # init, and the attempt
    assert set(" ".join(seen[1:]).split()) == {"ESRCH"}


def test_the_hosts_files_and_mounts_are_out_of_sight(sandbox: Sandbox, outside: Outside) -> None:
    shared = Path("/dev/shm") / f"of-the-host-{os.getpid()}"
    shared.write_text("of the host")
    try:
        result = attempt(
            sandbox,
            f"""
            for top in ("", "/proc/1/root", "/proc/self/root", "/proc/self/cwd", "/..", "/proc/self/root/../../.."):
                print(tried(open, top + {str(outside.file)!r}), tried(open, top + {str(shared)!r}))
            os.chroot("/usr")          # and out of it again, the classic way
            for _ in range(40):
                os.chdir("..")
            os.chroot(".")
            print(tried(open, {str(outside.file)!r}))
            """,
        )
    finally:
        shared.unlink()

    assert set(result.split()) <= {"ENOENT", "EACCES"}, result
    assert str(outside.folder) not in sandbox.check_output(["cat", "/proc/self/mountinfo"])


def test_what_is_mounted_inside_never_shows_outside(make_sandbox: Callable[..., Sandbox]) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    sandbox = make_sandbox(nesting=True)

    script = "mount --make-rshared / && mount -t tmpfs none /mnt && mount --bind /usr /srv && touch /mnt/made && ls /mnt /srv"
    done = sandbox.run(["sh", "-c", script])

    assert "made" in done.stdout, done.stderr  # else nothing was tried
    assert Path("/proc/self/mountinfo").read_text() == before
    assert not Path("/mnt/made").exists()


def test_memory_and_queues_shared_between_processes_are_the_sandboxs_own(make_sandbox: Callable[..., Sandbox]) -> None:
    first, second = make_sandbox(), make_sandbox()

    made = attempt(first, "print(libc.shmget(0x4c58, 4096, 0o1666) >= 0, libc.msgget(0x4c58, 0o1666) >= 0)")
    found = attempt(second, "print(libc.shmget(0x4c58, 4096, 0), libc.msgget(0x4c58, 0))")

    assert made == "True True"
    assert found == "-1 -1"


def test_a_link_to_inits_memory_is_not_written_through_from_outside(sandbox: Sandbox, tmp_path: Path) -> None:
    # What a test copies out of a sandbox and in again is of the sandbox's choosing, and so is where it goes: a file with a hole
    # as long as an address, through a link.
    sandbox.run(["sh", "-c", "ln -s /proc/1/mem /tmp/a; ln -s /proc/self/mem /tmp/b; mkdir /tmp/d; ln -s /proc/1/mem /tmp/d/f"])
    (tmp_path / "f").write_bytes(b"evil")
    os.truncate(tmp_path / "f", 0x400000)
    with (tmp_path / "f").open("r+b") as file:
        file.seek(0x3FF000)
        file.write(b"evil")

    for place in ("/tmp/a", "/tmp/b", "/tmp/d", "/proc/1/mem"):
        with pytest.raises((OSError, SandboxError)) as refused:
            sandbox.copy_in(tmp_path / "f", place)
        assert isinstance(refused.value, PermissionError), refused.value
    assert sandbox.check_output(["echo", "alive"]) == "alive\n"
