"""What of the host is shown: made-up folders and mount tables, no host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lxsandbox.rootfs.host_image import all_submounts, hidden, real_submounts, shadow_text, slices

Entry = tuple[str, str, str]


def mount(point: str, kind: str = "ext4", optional: str = "shared:1 ") -> str:
    return f"36 35 98:0 / {point} rw,noatime {optional}- {kind} /dev/sda1 rw,errors=continue"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for folder in ("usr/bin", "usr/lib", "etc", "home/me", "proc", "sys", "dev", "root", "tmp", "var/lib/docker", "var/cache"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "vmlinuz").write_text("")
    return tmp_path


def of(tree: Path, *points: str) -> dict[str, tuple[str, str]]:
    return {path: (kind, target) for path, kind, target in slices(str(tree), points)}


def test_folders_with_no_mounts_below_are_overlays(tree: Path) -> None:
    assert of(tree)["/usr"] == ("overlay", "")
    assert "/usr/bin" not in of(tree)


def test_a_folder_with_a_mount_below_is_gone_into(tree: Path) -> None:
    found = of(tree, "/usr/lib")

    assert found["/usr"] == ("folder", "")
    assert found["/usr/bin"] == ("overlay", "")
    assert found["/usr/lib"] == ("overlay", "")


def test_a_mount_with_a_longer_name_beside_a_folder_does_not_count(tree: Path) -> None:
    assert of(tree, "/usr-local/x")["/usr"] == ("overlay", "")


def test_links_are_remade(tree: Path) -> None:
    assert of(tree)["/bin"] == ("link", "usr/bin")


def test_a_file_is_shown_where_it_can_be_read(tree: Path) -> None:
    assert of(tree)["/vmlinuz"] == ("file", "")


@pytest.mark.parametrize("path", ["/proc", "/sys", "/dev"])
def test_what_is_always_fresh_is_left_out(tree: Path, path: str) -> None:
    assert path not in of(tree)


def test_hidden_folders_are_empty_also_below_a_folder_that_is_gone_into(tree: Path) -> None:
    found = of(tree, "/var/cache")

    assert found["/root"] == found["/home"] == found["/tmp"] == ("folder", "")
    assert "/home/me" not in found
    assert found["/var/lib"] == ("overlay", "")
    assert of(tree, "/var/lib/other")["/var/lib/docker"] == ("folder", "")


def test_a_folder_that_the_user_may_not_enter_is_left_out(tree: Path) -> None:
    (tree / "secret").mkdir()
    (tree / "secret").chmod(0)

    assert ("/secret" in of(tree)) is (os.geteuid() == 0)
    (tree / "secret").chmod(0o700)


def test_sockets_and_pipes_are_left_out(tree: Path) -> None:
    os.mkfifo(tree / "pipe")

    assert "/pipe" not in of(tree)


def test_names_with_odd_characters_come_through(tree: Path) -> None:
    (tree / "a b\n\\c").mkdir()

    assert of(tree)["/a b\n\\c"] == ("overlay", "")


def test_real_file_systems_below_the_root_are_shown_outer_ones_first() -> None:
    text = "\n".join([mount("/"), mount("/usr/local/data"), mount("/usr"), mount("/srv", "xfs", ""), mount("/usr")])

    assert real_submounts(text) == ["/srv", "/usr", "/usr/local/data"]


@pytest.mark.parametrize("kind", ["proc", "sysfs", "tmpfs", "cgroup2", "overlay", "nsfs", "squashfs", "autofs"])
def test_what_the_kernel_makes_up_is_not(kind: str) -> None:
    assert real_submounts(mount("/mnt", kind)) == []


@pytest.mark.parametrize(
    "point", ["/home", "/home/me/data", "/root", "/tmp/x", "/dev/shm", "/boot", "/snap/core/1", "/var/lib/docker/x"]
)
def test_neither_is_what_lies_in_a_hidden_folder(point: str) -> None:
    assert real_submounts(mount(point)) == []


def test_escaped_names_are_read_as_they_are() -> None:
    text = "\n".join([mount(r"/my\040disk"), mount(r"/tab\011here"), mount(r"/back\134slash"), mount(r"/line\012break")])

    assert real_submounts(text) == ["/back\\slash", "/line\nbreak", "/my disk", "/tab\there"]
    assert sorted(all_submounts(text)) == real_submounts(text)


def test_many_optional_fields_do_not_confuse_it() -> None:
    assert real_submounts(mount("/usr", optional="shared:1 master:2 propagate_from:3 unbindable ")) == ["/usr"]


def test_an_empty_table_has_none() -> None:
    assert real_submounts("") == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home", True),
        ("/home/me", True),
        ("/homes", False),
        ("/tmp/x", True),
        ("/etc", False),
        ("/dev/shm", True),
        ("/usr", False),
    ],
)
def test_hidden_goes_by_whole_names(path: str, expected: bool) -> None:
    assert hidden(path) is expected


def test_nobody_has_a_password_in_the_shadow_file_of_a_sandbox() -> None:
    passwd = "root:x:0:0:root:/root:/bin/sh\nme:secret:1000:1000::/home/me:/bin/sh\nbroken line\n+::::::\n"

    lines = shadow_text(passwd).splitlines()
    assert [line.split(":")[0] for line in lines] == ["root", "me", "+"]
    assert all(line.split(":")[1] == "*" and line.count(":") == 8 for line in lines)
    assert "secret" not in shadow_text(passwd)
