"""Classes 5 to 7 of the threat model: roots whose links and files stand where ours are to be, and mounts over links."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from security.conftest import Outside, RootFolder

from lxsandbox import Bind, Sandbox, SandboxError, Tmpfs

pytestmark = pytest.mark.security

# As tall as it takes: from wherever the target of a mount is looked up, this is the host's root or the sandbox's.
_UP = "../" * 30


@pytest.mark.parametrize("way", ["absolute", "relative"])
@pytest.mark.parametrize("name", ["dev", "proc", "sys", "etc", "tmp", "run", "etc/hosts", "etc/hostname", "etc/resolv.conf"])
def test_a_root_whose_system_path_is_a_link_out_is_started_safely_or_refused(
    make_sandbox: Callable[..., Sandbox], root_folder: RootFolder, outside: Outside, name: str, way: str
) -> None:
    target = outside.file if name.startswith("etc/") else outside.folder
    link = root_folder.folder / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(target if way == "absolute" else _UP + str(target))

    try:
        sandbox = make_sandbox(image=root_folder.image, mounts=root_folder.mounts)
    except SandboxError as refused:
        assert name in str(refused)  # noqa: PT017 - either outcome is safe
        return

    sandbox.run(["sh", "-c", f"echo evil > /{name}; echo evil > /{name}/new; rm -rf /{name}/*"])
    assert sandbox.run(["cat", f"/{name}"]).stdout != "of the host\n"


def test_devices_and_masks_are_the_kernels_whatever_the_root_has_in_their_place(
    make_sandbox: Callable[..., Sandbox], root_folder: RootFolder, outside: Outside
) -> None:
    # CVE-2025-31133, 52565: /dev/null and /dev/pts/0 of the root, by which a mask or a terminal would be mounted.
    for path in ("dev/pts", "proc/sys/kernel", "proc/self", "sys/firmware"):
        (root_folder.folder / path).mkdir(parents=True)
    for path in ("dev/null", "dev/zero", "dev/pts/0", "dev/pts/ptmx", "dev/ptmx", "dev/console", "dev/fd", "dev/shm"):
        (root_folder.folder / path).symlink_to(outside.file)
    for path in ("proc/kcore", "proc/keys", "proc/sysrq-trigger", "proc/sys/kernel/core_pattern", "proc/1"):
        (root_folder.folder / path).symlink_to(outside.file)
    sandbox = make_sandbox(image=root_folder.image, mounts=root_folder.mounts)

    shown = sandbox.check_output(["sh", "-c", "stat -c %t:%T /dev/null /dev/pts/ptmx; stat -f -c %T /proc /sys /dev/pts"])
    written = sandbox.run(["sh", "-c", "echo evil > /proc/sys/kernel/core_pattern; echo 1 > /proc/sys/vm/drop_caches"]).stderr
    with sandbox.popen(["sh", "-c", "tty; stat -c %t /proc/self/fd/0; stat -L -c %t $(tty)"], pty=True) as shell:
        assert shell.terminal is not None
        terminal = shell.terminal.read(9)

    assert shown.split() == ["1:3", "5:2", "proc", "sysfs", "devpts"]
    assert written.lower().count("read-only") == 2
    assert sandbox.run(["sh", "-c", "cat /proc/kcore /proc/keys | head -c 16"]).stdout == ""
    assert terminal == b"/dev/pts/"


def test_what_covers_a_mask_cannot_be_taken_away(make_sandbox: Callable[..., Sandbox], root_folder: RootFolder) -> None:
    sandbox = make_sandbox(image=root_folder.image, mounts=root_folder.mounts)

    # CVE-2025-52881: what init writes or mounts next goes through paths that the sandbox has replaced meanwhile.
    script = "rm -f /dev/null; ln -s /proc/kcore /dev/null; mv /proc /x; mv /dev/pts /dev/old; umount /proc/kcore; umount /proc"
    done = sandbox.run(["sh", "-c", script])

    assert sandbox.check_output(["stat", "-f", "-c", "%T", "/proc", "/dev/pts"]).split() == ["proc", "devpts"]
    assert sandbox.check_output(["stat", "-c", "%F", "/dev/null"]) == "character special file\n"
    assert done.returncode != 0


_MOUNTS: dict[str, Callable[[Outside, str], object]] = {
    "folder": lambda source, at: Bind(source.folder, at, mode="rw"),
    "read-only file": lambda source, at: Bind(source.file, at),
    "copied file": lambda source, at: Bind(source.file, at, mode="copy"),
    "copied folder": lambda source, at: Bind(source.folder, at, mode="copy"),
    "memory": lambda source, at: Tmpfs(at),
}


@pytest.mark.parametrize("way", ["absolute", "relative", "parent", "loop"])
@pytest.mark.parametrize("kind", _MOUNTS)
def test_a_mount_whose_place_is_a_link_lands_inside_or_is_refused(
    make_sandbox: Callable[..., Sandbox], root_folder: RootFolder, outside: Outside, kind: str, way: str
) -> None:
    source = Outside(outside.folder.parent / "source")
    place = root_folder.folder / "place"
    place.symlink_to(
        {
            "absolute": str(outside.folder / "new"),
            "relative": f"{_UP}{outside.folder}/new",
            "parent": str(outside.folder),
            "loop": "place",
        }[way]
    )
    at = "/place/deep/new" if way == "parent" else "/place"

    try:
        make_sandbox(image=root_folder.image, mounts=[*root_folder.mounts, _MOUNTS[kind](source, at)])
    except SandboxError as refused:
        assert "place" in str(refused)  # noqa: PT017 - either outcome is safe
    assert sorted(path.name for path in outside.folder.iterdir()) == ["below", "file"]
    source.check()


def test_a_sandbox_that_writes_to_a_shared_folder_cannot_move_the_mounts_of_another(
    make_sandbox: Callable[..., Sandbox], outside: Outside
) -> None:
    shared = outside.folder.parent / "shared"
    (shared / "data").mkdir(parents=True)
    writer = make_sandbox(mounts=[Bind(shared, "/shared", mode="rw")])
    reader = make_sandbox(mounts=[Bind(shared, "/shared"), Bind(shared / "data", "/shared/data")])

    writer.run(["sh", "-c", f"cd /shared && mv data old && ln -s {outside.folder} data"], check=True)

    assert (shared / "data").is_symlink()
    assert "of the host" not in reader.run(["cat", "/shared/data/file", "/shared/old/file"]).stdout


def test_a_folder_bound_in_is_no_way_up_to_what_is_beside_it(make_sandbox: Callable[..., Sandbox], outside: Outside) -> None:
    # A descriptor of a folder that is then moved out of the bound tree: `..` of it would be the host's (mount escape by rename).
    shared = outside.folder.parent / "shared"
    (shared / "a" / "b").mkdir(parents=True)
    sandbox = make_sandbox(mounts=[Bind(shared / "a", "/shared", mode="rw")])
    with sandbox.popen(["sh", "-c", "cd /shared/b; echo ready; read _; cat ../outside/file ../../outside/file; ls .."]) as inside:
        assert inside.stdout is not None
        inside.stdout.readline()
        (shared / "a" / "b").rename(shared / "b")
        out, _ = inside.communicate("\n")

    assert "of the host" not in out
    assert "outside" not in out
