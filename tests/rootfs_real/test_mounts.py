"""What a spec mounts: the host's files and folders in three modes, and file systems in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs

from lxsandbox import Bind, Sandbox, Tmpfs
from lxsandbox.errors import SpecError

pytestmark = needs("user-namespaces", "overlayfs")

Make = Callable[..., Sandbox]


@pytest.fixture
def data(place: Path) -> Path:
    """A folder of the host with a file in it."""
    (place / "data").mkdir()
    (place / "data" / "file").write_text("the host's")
    return place / "data"


def test_ro_shows_and_refuses_writes(make_sandbox: Make, data: Path) -> None:
    box = make_sandbox(mounts=[Bind(data, "/mnt/data")])

    assert box.path("/mnt/data/file").read_text() == "the host's"
    for script in ("echo x > /mnt/data/file", "touch /mnt/data/new", "rm /mnt/data/file", "mount -o remount,rw /mnt/data"):
        assert box.run(["sh", "-c", script]).returncode != 0
    assert (data / "file").read_text() == "the host's"


def test_rw_writes_through_with_the_owner_of_the_host(make_sandbox: Make, data: Path) -> None:
    box = make_sandbox(mounts=[Bind(data, "/data", "rw")])

    box.run(["sh", "-c", "echo changed > /data/file && mkdir /data/new && echo x > /data/new/x"], check=True)

    assert (data / "file").read_text() == "changed\n"
    for path in (data / "file", data / "new", data / "new" / "x"):
        assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid())


def test_the_hosts_writes_are_seen_inside(make_sandbox: Make, data: Path) -> None:
    box = make_sandbox(mounts=[Bind(data, "/ro"), Bind(data, "/rw", "rw")])

    (data / "later").write_text("later")

    assert box.path("/ro/later").read_text() == box.path("/rw/later").read_text() == "later"


def test_copy_takes_writes_and_keeps_the_host_as_it_is(make_sandbox: Make, data: Path) -> None:
    box = make_sandbox(mounts=[Bind(data, "/data", "copy")])

    box.run(["sh", "-c", "echo changed > /data/file; touch /data/new; cat /data/file"], check=True)
    assert box.path("/data/file").read_text() == "changed\n"
    box.run(["rm", "-rf", "/data/file"], check=True)

    assert os.listdir(data) == ["file"]
    assert (data / "file").read_text() == "the host's"


@pytest.mark.parametrize("dst", ["/srv/one/two/file", "/etc/hosts", "/etc/passwd"])
def test_a_file_is_mounted_read_only(make_sandbox: Make, data: Path, dst: str) -> None:
    box = make_sandbox(mounts=[Bind(data / "file", dst)])

    assert box.path(dst).read_text() == "the host's"
    assert box.run(["sh", "-c", f"echo x > {dst}"]).returncode != 0


def test_a_file_is_mounted_to_write_to(make_sandbox: Make, data: Path) -> None:
    make_sandbox(mounts=[Bind(data / "file", "/srv/file", "rw")]).path("/srv/file").write_text("changed")

    assert (data / "file").read_text() == "changed"


@pytest.mark.parametrize("dst", ["/srv/new/file", "/etc/passwd"])
def test_a_file_is_copied(make_sandbox: Make, data: Path, dst: str) -> None:
    (data / "file").chmod(0o640)
    box = make_sandbox(mounts=[Bind(data / "file", dst, "copy")])

    assert box.path(dst).read_text() == "the host's"
    assert box.path(dst).stat().st_mode & 0o777 == 0o640
    box.run(["sh", "-c", f"echo changed > {dst} && rm {dst} && echo again > {dst}"], check=True)
    assert (data / "file").read_text() == "the host's"


def test_the_target_is_made_where_it_is_missing(make_sandbox: Make, data: Path) -> None:
    box = make_sandbox(mounts=[Bind(data, "/lxs-a/b/c"), Tmpfs("/lxs-d/e"), Bind(data, "/lxs-f/g", "copy")])

    assert box.path("/lxs-a/b/c/file").exists()
    assert box.path("/lxs-d/e").is_dir()
    assert box.path("/lxs-f/g/file").exists()
    assert box.check_output(["stat", "-c", "%u:%g %a", "/lxs-a", "/lxs-a/b"]) == "0:0 755\n0:0 755\n"


def test_later_mounts_lie_over_earlier_ones(make_sandbox: Make, data: Path) -> None:
    box = make_sandbox(mounts=[Tmpfs("/top"), Bind(data, "/top/data"), Tmpfs("/top/over"), Bind(data / "file", "/top/over/it")])

    assert box.path("/top/data/file").read_text() == box.path("/top/over/it").read_text() == "the host's"


def test_devices_and_setuid_programs_have_no_effect_in_a_bind(make_sandbox: Make, data: Path) -> None:
    for mode in ("ro", "rw"):
        box = make_sandbox(mounts=[Bind(data, "/data", mode)])
        (line,) = [line for line in box.path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == "/data"]
        assert {"nosuid", "nodev"} <= set(line.split()[5].split(","))


def test_a_folder_cannot_be_mounted_on_a_file(make_sandbox: Make, data: Path) -> None:
    with pytest.raises(SpecError, match="/etc/passwd"):
        make_sandbox(mounts=[Bind(data, "/etc/passwd")])
    with pytest.raises(SpecError, match="/etc"):
        make_sandbox(mounts=[Bind(data / "file", "/etc")])


def test_a_source_that_is_not_there_is_named(make_sandbox: Make) -> None:
    with pytest.raises(SpecError, match="/no/such does not exist"):
        make_sandbox(mounts=[Bind("/no/such", "/mnt")])


def test_a_source_may_have_any_name(make_sandbox: Make, place: Path) -> None:
    for number, name in enumerate(("with space", "co:lon,com\\ma", "ünicöde")):
        (place / name).mkdir()
        (place / name / "file").write_text(name)
        for mode in ("ro", "rw", "copy"):
            box = make_sandbox(mounts=[Bind(place / name, f"/{number}", mode)])
            assert box.path(f"/{number}/file").read_text() == name


def test_a_tmpfs_holds_its_size_and_no_more(make_sandbox: Make) -> None:
    box = make_sandbox(mounts=[Tmpfs("/small", "1M")])

    box.run(["sh", "-c", "head -c 1000000 /dev/zero > /small/fits"], check=True)
    done = box.run(["sh", "-c", "head -c 1000000 /dev/zero > /small/more"])
    assert done.returncode != 0
    assert "No space left on device" in done.stderr


def test_a_tmpfs_is_empty_and_open_to_all(make_sandbox: Make) -> None:
    box = make_sandbox(mounts=[Tmpfs("/etc")])

    assert list(box.path("/etc").iterdir()) == []
    assert box.path("/etc").stat().st_mode & 0o7777 == 0o1777
