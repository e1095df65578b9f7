"""Classes 7 to 9, 11 and 17 to 21 of the threat model: files, users, the host around, exhaustion, names."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL

import pytest
from needs import needs
from security.attack import attempt

from lxsandbox import Bind, Sandbox, SandboxError
from lxsandbox.errors import SpecError
from lxsandbox.service.run_folder import base_folder, make_run_folder

pytestmark = pytest.mark.security


def test_a_bind_lands_inside_also_where_the_image_has_a_link_out(make_sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    root, outside, source = tmp_path / "root", tmp_path / "outside", tmp_path / "source"
    for folder in (root / "bin", outside, source):
        folder.mkdir(parents=True)
    (source / "file").write_text("inside")
    (root / "data").symlink_to(outside)

    try:
        make_sandbox(image=f"dir:{root}", mounts=[Bind(source, "/data/deep")])
    except SandboxError as refused:
        assert "cannot be mounted" in str(refused) or "link" in str(refused)  # noqa: PT017 - either outcome is safe

    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["proc", "sys", "dev", "tmp", "etc"])
def test_an_image_whose_system_folders_are_links_is_refused_or_harmless(
    make_sandbox: Callable[..., Sandbox], tmp_path: Path, name: str
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "bin").mkdir(parents=True)
    outside.mkdir()
    (root / name).symlink_to(outside)

    try:
        make_sandbox(image=f"dir:{root}")
    except SandboxError as refused:
        assert "Traceback" not in str(refused)  # noqa: PT017 - either outcome is safe

    assert list(outside.iterdir()) == []


def test_copies_never_leave_the_sandbox_while_a_folder_turns_into_a_link(sandbox: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("of the host")
    (tmp_path / "source").write_text("from outside")
    make = "mkdir -p /tmp/a/real; echo inside > /tmp/a/real/file; cd /tmp/a"
    swap = f"{make}; while :; do ln -sfn {secret} x; rm x; mv real x; mv x real; done"
    with sandbox.popen(["sh", "-c", swap], stdout=DEVNULL, stderr=DEVNULL) as swapping:
        for number in range(500):
            try:
                sandbox.copy_in(tmp_path / "source", "/tmp/a/x/new")
            except (OSError, SandboxError):
                pass
            try:
                sandbox.copy_out("/tmp/a/x/file", tmp_path / f"copy{number}")
            except (OSError, SandboxError):
                continue
            assert (tmp_path / f"copy{number}").read_text() == "inside\n"
        swapping.kill()

    assert [path.name for path in secret.iterdir()] == ["file"]


def test_closing_follows_no_link(make_sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "alive").write_text("yes")
    sandbox = make_sandbox(scratch="disk")
    sandbox.run(["sh", "-c", f"mkdir -p /var/x; ln -s {canary} /var/x/link; ln -s {canary} /link"], check=True)

    sandbox.close()

    assert (canary / "alive").read_text() == "yes"


@pytest.mark.parametrize("passwd", ["link", "fifo", "huge", "garbage"])
def test_a_hostile_user_list_makes_nobody_root(sandbox: Sandbox, passwd: str) -> None:
    make = {
        "link": "ln -s /proc/self/mem /etc/passwd",
        "fifo": "mkfifo /etc/passwd",
        "huge": "truncate -s 1G /etc/passwd",
        "garbage": "printf 'evil:x:zero:0:::\\nevil::::::\\n:x:0:0:::\\n' > /etc/passwd",
    }[passwd]
    sandbox.run(["sh", "-c", f"rm -f /etc/passwd; {make}"], check=True)

    with pytest.raises(SandboxError):
        sandbox.run(["id"], user="evil", timeout=20)


def test_the_hosts_sockets_and_processes_are_out_of_reach(sandbox: Sandbox) -> None:
    abstract = socket.socket(socket.AF_UNIX)
    loopback = socket.create_server(("127.0.0.1", 0))
    name = f"\0lxsandbox-test-{os.getpid()}"
    with abstract, loopback:
        abstract.bind(name)
        abstract.listen()
        port = loopback.getsockname()[1]
        result = attempt(
            sandbox,
            f"""
            print(tried(socket.socket(socket.AF_UNIX).connect, {name!r}))
            print(tried(socket.create_connection, ("127.0.0.1", {port}), 5))
            print(tried(os.kill, {os.getpid()}, 0) if {os.getpid()} > 1000 else "ESRCH")
            """,
        )

    assert result.split() == ["ECONNREFUSED", "ECONNREFUSED", "ESRCH"]
    assert len(sandbox.run(["sh", "-c", "ls -d /proc/[0-9]*"]).stdout.split()) <= 4


def test_a_mount_inside_never_shows_outside(make_sandbox: Callable[..., Sandbox]) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    sandbox = make_sandbox(nesting=True)

    sandbox.run(["sh", "-c", "mount -t tmpfs none /mnt && mount --bind /usr /mnt"])

    assert Path("/proc/self/mountinfo").read_text() == before


@needs("cgroup-pids")
def test_a_fork_bomb_meets_its_limit_and_the_others_go_on(make_sandbox: Callable[..., Sandbox]) -> None:
    bomb, other = make_sandbox(pids=40), make_sandbox()

    with bomb.popen(["sh", "-c", "f() { f | f & }; f"], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL) as first:
        first.wait(20)

    assert other.check_output(["echo", "well"]) == "well\n"
    assert (bomb.stats().pids_peak or 0) <= 41


@needs("cgroup-memory")
def test_a_memory_bomb_ends_alone(make_sandbox: Callable[..., Sandbox]) -> None:
    bomb = make_sandbox(memory="64M")

    done = bomb.run([sys.executable, "-S", "-c", "x = bytearray(1 << 30)"])

    assert done.returncode == -9
    assert bomb.stats().oom_kills == 1
    assert bomb.check_output(["echo", "alive"]) == "alive\n"


def test_a_disk_filler_gets_enospc_and_an_inode_filler_too(make_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = make_sandbox(disk="8M")

    result = attempt(
        sandbox,
        """
        def fill():
            with open("/var/filler", "wb") as file:
                while True:
                    file.write(b"x" * 65536)
        print(tried(fill))
        os.unlink("/var/filler")
        def inodes():
            for number in range(100_000):
                os.close(os.open(f"/var/{number}", os.O_CREAT | os.O_WRONLY))
        print(tried(inodes))
        """,
    )

    assert result.split() == ["ENOSPC", "ENOSPC"]


def test_a_flood_of_log_lines_stays_bounded(make_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = make_sandbox(command=["sh", "-c", "yes flood | head -c 50000000; echo last; exec sleep 600"])
    seen = threading.Event()
    while not seen.is_set():
        if sandbox.logs().endswith("last\n"):
            seen.set()

    assert len(sandbox.logs()) <= (1 << 20) + 65536


def test_a_run_folder_that_others_could_touch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("open", "link"):
        base = tmp_path / kind
        if kind == "open":
            base.mkdir()
            base.chmod(0o777)
        else:
            (tmp_path / "elsewhere").mkdir(mode=0o700)
            base.symlink_to(tmp_path / "elsewhere")
        monkeypatch.setenv("LXSANDBOX_RUNTIME_DIR", str(base))
        with pytest.raises(SandboxError, match="not safe"):
            base_folder()


@pytest.mark.parametrize("name", ["../x", "", "a\0b", "x" * 300, "a/b", ".hidden", "-x"])
def test_names_that_are_no_names_are_refused(make_sandbox: Callable[..., Sandbox], name: str) -> None:
    with pytest.raises(SpecError):
        make_run_folder(name) if name else make_sandbox(name=name)
    with pytest.raises(SpecError):
        make_sandbox(name=name)
