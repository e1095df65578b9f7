"""What a sandbox has changed, streamed out as a layer of an image: as its own ids have it, and whole when unpacked again."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs
from rootfs_real.busybox import make_root

pytestmark = needs("user-namespaces", "overlayfs", "busybox")

Pack = Callable[..., bytes]
PROGRAM = Path(__file__).with_name("packing.py")
SCRIPT = """
mkdir -p /data/deep/er; echo text > /data/deep/er/file; chmod 4750 /data/deep/er/file; chmod 1711 /data/deep
ln /data/deep/er/file /data/other; ln -s ../bin/sh /data/link
touch -d '2001-02-03 04:05:06' /data/other
rm /bin/false; rm /etc/hosts; rm /bin/wc; echo > /bin/wc
"""


def run_packing(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, check=False, timeout=100)


def layer(*arguments: str) -> dict[str, tarfile.TarInfo]:
    """The entries of the layer by name; one that is there twice fails."""
    done = run_packing(*arguments)
    assert done.returncode == 0, done.stderr
    with tarfile.open(fileobj=io.BytesIO(done.stdout), mode="r:") as archive:
        members = archive.getmembers()
    assert len({member.name for member in members}) == len(members)
    return {member.name: member for member in members}


def test_a_sandbox_that_changed_nothing_is_an_empty_layer(root: Path) -> None:
    assert layer(f"dir:{root}", "true") == layer("host", "true") == {}


def test_a_layer_holds_what_was_changed_as_the_sandbox_sees_it(root: Path) -> None:
    found = layer(f"dir:{root}", SCRIPT)

    assert list(found) == [
        *("bin", "bin/.wh.false", "bin/wc"),
        *("data", "data/deep", "data/deep/er", "data/deep/er/file", "data/link", "data/other"),
    ]
    assert all((member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "") for member in found.values())
    assert found["data/deep/er/file"].mode == 0o4750
    assert found["data/deep"].mode == 0o1711
    assert found["data/deep/er/file"].mtime == 981173106
    assert found["data/link"].linkname == "../bin/sh"
    assert found["data/other"].linkname == "data/deep/er/file"


@needs("id-range")
def test_owners_are_those_inside(root: Path) -> None:
    found = layer(f"dir:{root}", "mkdir /a; echo > /a/b; chown 33:44 /a; chown 65533:65533 /a/b; chmod 0 /a/b")

    assert (found["a"].uid, found["a"].gid) == (33, 44)
    assert (found["a/b"].uid, found["a/b"].gid, found["a/b"].mode) == (65533, 65533, 0)


@needs("id-range")
def test_file_capabilities_are_packed_in_the_form_without_a_namespace() -> None:
    # capabilities(7): version 2 with cap_net_raw; set inside a user namespace, the kernel stores it as version 3.
    script = "touch /tmp/x; /usr/bin/python3 -c \"import os; os.setxattr('/tmp/x', 'security.capability', {!r})\""
    value = b"\1\0\0\2\0\x20" + bytes(14)
    found = layer("host", script.format(value))

    assert found["tmp/x"].pax_headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == value


def test_what_the_host_s_image_hides_is_not_in_the_layer() -> None:
    found = layer("host", "echo > /root/.bashrc; mkdir /home/me; touch /etc/new")

    assert set(found) == {"root", "root/.bashrc", "home", "home/me", "etc", "etc/new"}
    assert (found["root"].mode, found["home"].mode) == (0o700, 0o755)


def test_without_groups_the_sandbox_is_stopped_by_signals(root: Path) -> None:
    script = "(while :; do echo > /data; rm /data; done) >/dev/null 2>&1 & touch /new"
    assert "new" in layer(f"dir:{root}", script, "without groups")


def test_what_no_layer_can_hold_is_refused_by_name(root: Path) -> None:
    done = run_packing(f"dir:{root}", "mkdir /a; touch /a/.wh.b")

    assert b"ImageError" in done.stderr
    assert b"'/a/.wh.b'" in done.stderr


def test_a_reader_that_goes_away_ends_the_packing(root: Path) -> None:
    script = "cat /bin/busybox /bin/busybox /bin/busybox > /big"
    with subprocess.Popen(
        [sys.executable, PROGRAM, f"dir:{root}", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as done:
        assert done.stdout is not None
        assert done.stderr is not None
        done.stdout.read(512)
        done.stdout.close()
        assert b"its packing was killed" in done.stderr.read()

    assert done.returncode == 1


def status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


@needs("root")
def test_what_packs_has_the_ids_of_the_sandbox_and_no_rights_outside(root: Path) -> None:
    script = "cat /bin/busybox /bin/busybox /bin/busybox > /big"
    with subprocess.Popen([sys.executable, PROGRAM, f"dir:{root}", script], stdout=subprocess.PIPE) as done:
        assert done.stdout is not None
        done.stdout.read(512)  # it packs now, and waits for more to be read
        children = [int(pid) for pid in Path(f"/proc/{done.pid}/task/{done.pid}/children").read_text().split()]
        beside = [pid for pid in children if len(status(pid)["NSpid"]) == 1]
        spawner, packer = sorted(beside)
        namespaces = {os.readlink(f"/proc/{pid}/ns/user") for pid in (spawner, packer)}
        ids, groups = status(packer)["Uid"] + status(packer)["Gid"], status(packer)["Groups"]
        done.stdout.read()

    assert len(namespaces) == 2
    assert "0" not in ids
    assert groups == []


def umoci(*arguments: str | Path) -> None:
    subprocess.run(["umoci", *arguments], check=True, capture_output=True)


@needs("umoci", "tar")
def test_unpacked_over_the_image_it_makes_the_root_that_was_packed(root: Path, tmp_path: Path) -> None:
    base, changed = tmp_path / "base.tar", tmp_path / "changed.tar"
    subprocess.run(["tar", "-c", "--owner=0", "--group=0", "-f", base, "-C", root, "."], check=True)
    changed.write_bytes(run_packing(f"dir:{root}", SCRIPT + "mkdir /empty; rm -r /empty; cat /bin/busybox > /bin/copy").stdout)
    image = tmp_path / "image"
    umoci("init", "--layout", image)
    umoci("new", "--image", f"{image}:new")
    for archive in (base, changed):
        umoci("raw", "add-layer", "--image", f"{image}:new", archive)
    umoci("unpack", "--rootless", "--image", f"{image}:new", tmp_path / "unpacked")

    expected = make_root(tmp_path / "expected")
    for path, act in (("bin/false", "removed"), ("bin/wc", "changed")):
        (expected / path).unlink()
        if act == "changed":
            (expected / path).write_text("\n")
    (expected / "data" / "deep" / "er").mkdir(parents=True)
    (expected / "data" / "deep" / "er" / "file").write_text("text\n")
    os.link(expected / "data" / "deep" / "er" / "file", expected / "data" / "other")
    (expected / "data" / "link").symlink_to("../bin/sh")
    (expected / "bin" / "copy").write_bytes((root / "bin" / "busybox").read_bytes())

    def look(top: Path) -> dict[str, object]:
        return {
            str(path.relative_to(top)): (
                os.readlink(path) if path.is_symlink() else (path.read_bytes() if path.is_file() else None, path.stat().st_nlink)
            )
            for path in top.rglob("*")
        }

    assert look(tmp_path / "unpacked" / "rootfs") == look(expected)


@pytest.mark.parametrize("image", ["host", "dir"])
def test_equal_changes_are_equal_layers(root: Path, image: str) -> None:
    script = "mkdir -p /tmp/a; echo b > /tmp/a/b; rm /etc/hosts; touch -d '2001-02-03 04:05:06' /tmp/a/b /tmp/a /tmp /etc"
    reference = "host" if image == "host" else f"dir:{root}"

    first, second = (run_packing(reference, script) for _ in range(2))

    assert first.stdout == second.stdout
    assert first.stdout
