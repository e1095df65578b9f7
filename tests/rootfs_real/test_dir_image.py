"""Images that are a folder: one program is enough."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs
from rootfs_real.busybox import make_root

from lxsandbox import ImageError, Sandbox
from lxsandbox.errors import SandboxError, SpecError

pytestmark = needs("user-namespaces", "overlayfs", "busybox")


def test_a_folder_with_one_program_is_an_image(small: Callable[..., Sandbox]) -> None:
    box = small(env={"COLOUR": "red"})

    assert box.check_output(["sh", "-c", "echo hello $COLOUR"]) == "hello red\n"
    assert box.check_output(["id", "-u"]) == "0\n"


def test_what_it_lacks_is_made(small: Callable[..., Sandbox], root: Path) -> None:
    box = small()

    box.run(["sh", "-c", "echo x > /tmp/x && echo x > /dev/null && test -d /proc/1 && test -d /sys/class"], check=True)
    assert box.path("/etc/hostname").read_text().strip() == box.hostname
    assert "127.0.0.1" in box.path("/etc/hosts").read_text()
    assert os.listdir(root) == ["bin"]


def test_what_is_written_stays_inside(small: Callable[..., Sandbox], root: Path) -> None:
    small().run(["sh", "-c", "echo x > /bin/new; rm /bin/ls; rm /bin/cat; echo x > /bin/cat"], check=True)

    assert not (root / "bin" / "new").exists()
    assert (root / "bin" / "ls").is_symlink()
    assert small().run(["ls", "/"]).returncode == 0


def test_nothing_of_the_host_is_in_it(small: Callable[..., Sandbox]) -> None:
    found = {path.name for path in small().path("/").iterdir()}

    assert found == {"bin", "dev", "etc", "proc", "sys", "tmp"}


def test_a_folder_that_is_changed_is_seen_by_the_next_sandbox(make_sandbox: Callable[..., Sandbox], place: Path) -> None:
    root = make_root(place / "root")
    assert not make_sandbox(f"dir:{root}").path("/bin/new").exists()

    (root / "bin" / "new").write_text("")

    assert make_sandbox(f"dir:{root}").path("/bin/new").exists()


@pytest.mark.parametrize("name", ["with space", "colon:comma,back\\slash", "ünicöde"])
def test_the_folder_may_have_any_name(make_sandbox: Callable[..., Sandbox], place: Path, name: str) -> None:
    root = make_root(place / name)

    assert make_sandbox(f"dir:{root}").run(["true"]).returncode == 0


@pytest.mark.parametrize("path", ["/no/such/folder", "/etc/passwd"])
def test_what_is_no_folder_is_no_image(make_sandbox: Callable[..., Sandbox], path: str) -> None:
    with pytest.raises(ImageError, match="is not a folder"):
        make_sandbox(f"dir:{path}")


def test_a_folder_that_is_no_image_layout_is_refused(make_sandbox: Callable[..., Sandbox]) -> None:
    with pytest.raises(ImageError, match="oci-layout"):
        make_sandbox("oci:/etc")


def test_a_relative_path_is_below_the_working_folder(
    make_sandbox: Callable[..., Sandbox], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)

    assert make_sandbox(f"dir:{root.name}").run(["true"]).returncode == 0


@pytest.mark.parametrize("reference", ["dir:", "tar:", "DIR:/tmp", "host:", ":", "Alpine"])
def test_what_is_no_reference_is_refused(make_sandbox: Callable[..., Sandbox], reference: str) -> None:
    with pytest.raises(ImageError, match=f"image '{reference}': "):
        make_sandbox(reference)


@pytest.mark.parametrize("name", ["proc", "sys", "dev", "tmp"])
@pytest.mark.parametrize("target", ["/etc", "../../../etc", "/proc/self/root", "nowhere"])
def test_an_image_that_would_lead_the_kernels_files_elsewhere_is_refused(
    make_sandbox: Callable[..., Sandbox], place: Path, name: str, target: str
) -> None:
    root = make_root(place / "root")
    (root / name).symlink_to(target)

    with pytest.raises((ImageError, SpecError), match=f"/{name}"):
        make_sandbox(f"dir:{root}")


@pytest.mark.parametrize("name", ["etc", "etc/hosts", "etc/hostname"])
def test_links_in_an_image_lead_no_file_of_ours_out_of_it(make_sandbox: Callable[..., Sandbox], place: Path, name: str) -> None:
    root, outside = make_root(place / "root"), place / "outside"
    outside.mkdir()
    (outside / "hosts").write_text("mine")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).symlink_to(outside if name == "etc" else outside / "hosts")
    try:
        make_sandbox(f"dir:{root}").run(["true"], check=True)
    except SandboxError:
        pass  # refused: also right

    assert (outside / "hosts").read_text() == "mine"
    assert os.listdir(outside) == ["hosts"]


def test_a_main_command_that_is_not_there_is_named_and_leaves_nothing(small: Callable[..., Sandbox]) -> None:
    with pytest.raises(SandboxError, match="no 'no-such'"):
        small(command=["no-such"])


def test_entrypoint_and_command_are_one_main_command(small: Callable[..., Sandbox]) -> None:
    box = small(entrypoint=["sh", "-c", 'echo "$0 $1"; exec sleep 1000'], command=["a", "b"])
    box.run(["sh", "-c", "until grep -q sleep /proc/2/comm; do :; done"], timeout=30)

    assert box.logs() == "a b\n"
