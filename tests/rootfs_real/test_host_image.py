"""Image `host`: the host's own files, without its secrets, and never changed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs

from lxsandbox import Sandbox

pytestmark = needs("user-namespaces", "overlayfs")


def test_homes_and_temporary_folders_are_empty(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("secret")
    shown = {part for path in [*sys.path, os.getcwd(), sys.prefix] for part in Path(path).parts}

    for folder in ("/root", "/home", "/tmp", "/run", "/var/tmp"):
        assert {path.name for path in sandbox.path(folder).iterdir()} <= shown
    assert not sandbox.path(str(tmp_path / "mine")).exists()


def test_nobody_s_password_is_in_the_shadow_file(sandbox: Sandbox) -> None:
    lines = sandbox.path("/etc/shadow").read_text().splitlines()

    assert {line.split(":")[1] for line in lines} == {"*"}
    assert {line.split(":")[0] for line in lines} >= {"root"}
    for name in ("/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers"):
        assert not sandbox.path(name).exists()


def test_no_key_of_the_host_can_be_found(sandbox: Sandbox) -> None:
    script = (
        "find / -xdev '(' -name 'ssh_host_*_key' -o -name 'id_rsa' -o -name 'id_ed25519' -o -name docker.sock ')' 2>/dev/null"
    )

    assert sandbox.run(["sh", "-c", script]).stdout == ""
    assert not sandbox.path("/etc/ssl/private").exists()


def test_what_hides_a_secret_cannot_be_taken_away(sandbox: Sandbox) -> None:
    sandbox.run(["sh", "-c", "rm -rf /etc/gshadow /root /home; umount -l /; umount /etc; mv /etc /etc2"])

    assert sandbox.run(["sh", "-c", "cat /etc/gshadow /etc2/gshadow"]).stdout == ""
    assert not any("$" in line for line in sandbox.run(["cat", "/etc/shadow", "/etc2/shadow"]).stdout.splitlines())


def test_the_host_is_untouched_when_its_programs_are_removed_inside(sandbox: Sandbox) -> None:
    before = sorted(os.listdir("/usr/bin"))

    # For a plain user the kernel takes the host's files as nobody's, and refuses.
    done = sandbox.run(["sh", "-c", "rm -rf /usr/bin /usr/share /etc/passwd /var/lib"])

    assert sorted(os.listdir("/usr/bin")) == before
    assert Path("/etc/passwd").exists()
    assert sandbox.path("/usr/share").exists() == (os.geteuid() != 0)
    assert (done.returncode == 0) == (os.geteuid() == 0)


def test_what_is_written_inside_is_seen_by_nobody_else(sandbox: Sandbox, make_sandbox: Callable[..., Sandbox]) -> None:
    for path in ("/etc/new", "/usr/new", "/opt/new", "/tmp/new", "/new"):
        sandbox.path(path).write_text("new")
        assert not Path(path).exists()
        assert not make_sandbox().path(path).exists()


@needs("root")
def test_root_inside_owns_the_hosts_root_files_and_may_change_them(sandbox: Sandbox) -> None:
    assert sandbox.check_output(["stat", "-c", "%u:%g", "/etc", "/usr/bin/env"]) == "0:0\n0:0\n"
    sandbox.run(["sh", "-c", "echo x >> /etc/profile && chmod 600 /etc/profile && rm /etc/profile"], check=True)
    assert Path("/etc/profile").exists()


def test_the_interpreter_and_its_packages_can_be_used_inside(sandbox: Sandbox) -> None:
    code = "import pytest, cloudpickle; print(pytest.__file__)"

    assert (
        sandbox.check_output([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).strip().endswith("__init__.py")
    )
    assert sandbox.call(os.getcwd) == "/"


def _visit(project: str, venv: str) -> None:
    """Run by an interpreter in `venv`, in the folder `project`: see what a sandbox sees of both."""
    with Sandbox() as box:
        assert box.path(project + "/mine.txt").read_text() == "of the project"
        box.path(project + "/mine.txt").write_text("changed inside")
        box.path(project + "/new.txt").write_text("new")
        assert Path(project, "mine.txt").read_text() == "of the project"
        assert not Path(project, "new.txt").exists()
        assert box.check_output([sys.executable, "-c", "import sys; print(sys.prefix)"]).strip() == venv
        assert box.run(["touch", venv + "/new"]).returncode != 0
        assert not box.path(os.path.dirname(project) + "/secret").exists()
    print("seen")


@pytest.mark.parametrize("base", ["/tmp", "home"])
def test_a_project_and_an_environment_in_hidden_places_are_shown_and_writes_stay_inside(base: str) -> None:
    base = os.path.expanduser("~") if base == "home" else base
    if not os.access(base, os.W_OK):
        pytest.skip(f"{base} is not there")
    with tempfile.TemporaryDirectory(prefix="hidden-", dir=base) as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "project").mkdir()
        (folder / "project" / "mine.txt").write_text("of the project")
        (folder / "secret").write_text("x")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        packages = [path for path in sys.path if path]
        environment = {**os.environ, "PYTHONPATH": ":".join([*packages, str(Path(__file__).parent)])}
        code = f"import test_host_image as t; t._visit({str(folder / 'project')!r}, {str(folder / 'venv')!r})"
        done = subprocess.run(
            [folder / "venv" / "bin" / "python", "-B", "-c", code],
            cwd=folder / "project", env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == ("seen\n", "")


def test_the_kernels_own_file_systems_are_fresh(sandbox: Sandbox) -> None:
    assert sandbox.check_output(["sh", "-c", "echo /proc/[0-9]*"]).split()[0] == "/proc/1"
    assert sandbox.path("/proc/1/comm").exists()
    assert {path.name for path in sandbox.path("/dev").iterdir()} == {
        *("null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr", "ptmx", "pts", "shm", "mqueue")
    }
    assert sandbox.check_output(["sh", "-c", "ls /sys/class/net"]) == "lo\n"
    assert sandbox.run(["touch", "/sys/x", "/proc/sys/kernel/hostname"]).returncode != 0
    sandbox.run(["sh", "-c", "echo x > /dev/null && head -c 5 /dev/urandom > /dev/shm/x && test -s /dev/shm/x"], check=True)


def test_nothing_of_the_hosts_mount_table_is_left(sandbox: Sandbox) -> None:
    points = [line.split()[4] for line in sandbox.path("/proc/self/mountinfo").read_text().splitlines()]

    assert points.count("/") == 1
    assert not [point for point in points if point.startswith(("/sys/fs/cgroup/", "/oldroot"))]
