"""Runs the suite as a plain user: as it is when run by one; root first copies the project to where one can reach it.

The user is LXSANDBOX_PLAIN_USER, else `lxsandbox-ci`, else `nobody`. What it gets is what a login session of systemd would
give it: a home, a TMPDIR, a cgroup of its own, and a /dev/net/tun that it may open. pytest's exit status is passed on.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from needs import must_run

from lxsandbox.syscalls import clone, mounts

ROOT = Path(__file__).resolve().parent.parent
PASSED = ("CI", "LANG", "TERM")
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
# What cgroups(7) says to chown when a group is delegated; names that a hierarchy lacks are left out.
DELEGATED = ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "tasks")


def main(arguments: list[str]) -> int:
    if os.geteuid() != 0:
        return subprocess.run(["pytest", *arguments], cwd=ROOT, check=False).returncode
    user = _plain_user()
    python = user and _reachable_python(user)
    if not user or not python:
        print(f"no plain user can run this suite here: user {user and user.pw_name}, Python {python}")
        print("fix: useradd --create-home lxsandbox-ci, and a system Python 3.11 or newer")
        return 1 if must_run() else 0
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="plain-user-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        venv = _install(folder, python)
        project = _copy_project(folder / "project", user)
        groups = undo.enter_context(_delegated_cgroups(user))
        return _run_pytest(folder, venv, project, user, groups, arguments)


def _plain_user() -> pwd.struct_passwd | None:
    for name in (os.environ.get("LXSANDBOX_PLAIN_USER", ""), "lxsandbox-ci", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def _reachable_python(user: pwd.struct_passwd) -> str | None:
    """The first Python, this one preferred, that the user can start: root's own may lie in a closed home."""
    for python in (os.path.realpath(sys.executable), "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            subprocess.run(
                [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"],
                user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/", env={}, check=True, capture_output=True,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


def _install(folder: Path, python: str) -> Path:
    """A virtual environment with the project and what its tests need; root's work, so that the user needs no network."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "virtualenv", "-q", "-p", python, venv], check=True)
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    subprocess.run([venv / "bin" / "python", "-m", "pip", "install", "-q", ROOT, *groups["test"]], check=True)
    return venv


def _copy_project(target: Path, user: pwd.struct_passwd) -> Path:
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    for path in (target, *target.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    return target


@contextmanager
def _delegated_cgroups(user: pwd.struct_passwd) -> Iterator[list[Path]]:
    """A group owned by the user in each hierarchy, as `systemd-run --user --scope -p Delegate=yes` gives one."""
    made: list[Path] = []
    try:
        for parent in _own_groups():
            group = parent / f"plain-user-{os.getpid()}"
            group.mkdir()
            made.append(group)
            for name in ("cpuset.cpus", "cpuset.mems"):  # v1: a group without them takes no process
                if (group / name).exists() and not (group / "cgroup.controllers").exists():
                    (group / name).write_text((parent / name).read_text())
            for name in DELEGATED:
                if (group / name).exists():
                    os.chown(group / name, user.pw_uid, user.pw_gid)
        yield made
    finally:
        for group in made:
            _remove_group(group)


def _own_groups() -> Iterator[Path]:
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        own[names] = path
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        filesystem, _, options = after.split(" ", 2)
        root, folder = before.split()[3:5]
        for names, path in own.items():
            if (filesystem == "cgroup" and names and set(names.split(",")) <= set(options.split(","))) or (
                filesystem == "cgroup2" and not names
            ):
                yield Path(folder) / os.path.relpath(path, root)


def _remove_group(group: Path) -> None:
    """Removes the group with what a failed test has left below it; a process still in it is named by the error."""
    for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
        folder.rmdir()
    group.rmdir()


def _tun_for_everybody(folder: Path) -> Path | None:
    """A node as udev makes it, which anybody may open; None where the kernel has no such device."""
    if not os.path.exists("/dev/net/tun"):
        return None
    node = folder / "tun"
    os.mknod(node, stat.S_IFCHR, os.stat("/dev/net/tun").st_rdev)
    node.chmod(0o666)
    return node


def _run_pytest(
    folder: Path, venv: Path, project: Path, user: pwd.struct_passwd, groups: list[Path], arguments: list[str]
) -> int:
    tun = _tun_for_everybody(folder)

    def become_the_user() -> None:
        if tun is not None:
            clone.unshare(clone.CLONE_NEWNS)
            mounts.set_propagation_private()
            mounts.move_mount(mounts.open_tree(str(tun)), os.open("/dev/net/tun", os.O_PATH | os.O_CLOEXEC))
        # Not by Popen(user=…), which changes the ids before this runs: the groups can be joined by root alone.
        for group in groups:
            (group / "cgroup.procs").write_text("0")
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)

    places = {name: folder / name for name in ("home", "tmp")}
    for place in places.values():
        place.mkdir(mode=0o700)
        os.chown(place, user.pw_uid, user.pw_gid)
    passed = {name: value for name, value in os.environ.items() if name.startswith("LXSANDBOX_") or name in PASSED}
    environment = passed | {
        "HOME": str(places["home"]),
        "LOGNAME": user.pw_name,
        "PATH": f"{venv / 'bin'}:{SYSTEM_PATH}",
        "TMPDIR": str(places["tmp"]),
        "USER": user.pw_name,
    }
    # Short: the paths of sockets are bounded, and so is what of a path is shown; xdist makes them longer.
    command = [venv / "bin" / "pytest", f"--basetemp={places['tmp'] / 'b'}", *arguments]
    done = subprocess.run(command, cwd=project, env=environment, check=False, preexec_fn=become_the_user)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
