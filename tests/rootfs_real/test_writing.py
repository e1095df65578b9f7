"""Where a sandbox may write, how much, and what becomes of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from events import until
from needs import needs

from lxsandbox import HostUnsupported, Sandbox
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs")

Make = Callable[..., Sandbox]
FILL = "head -c {0} /dev/zero > {1}"


@pytest.mark.parametrize("folder", ["/etc", "/tmp", "/opt", "/"])
def test_no_more_can_be_written_than_the_disk_holds(make_sandbox: Make, folder: str) -> None:
    box = make_sandbox(disk="4M")

    box.run(["sh", "-c", FILL.format(3_000_000, f"{folder}/fits")], check=True)
    done = box.run(["sh", "-c", FILL.format(3_000_000, "/var/more" if os.geteuid() else f"{folder}/more")])
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    box.run(["sh", "-c", f"rm {folder}/fits && {FILL.format(1_000_000, '/tmp/again')}"], check=True)


@pytest.mark.parametrize("read_only", [False, True])
def test_shared_memory_is_part_of_it(make_sandbox: Make, read_only: bool) -> None:
    box = make_sandbox(disk="4M", read_only=read_only)

    box.run(["sh", "-c", FILL.format(3_000_000, "/tmp/x")], check=True)
    done = box.run(["sh", "-c", FILL.format(3_000_000, "/dev/shm/x")])
    assert "No space left on device" in done.stderr


def test_no_more_files_can_be_made_than_fit_the_disk(make_sandbox: Make) -> None:
    done = make_sandbox(disk="4M").run(["sh", "-c", "cd /tmp && seq 5000 | xargs touch"])

    assert "No space left on device" in done.stderr


def test_the_device_folder_is_no_way_round_it(make_sandbox: Make) -> None:
    done = make_sandbox(disk="1M").run(["sh", "-c", FILL.format(200_000, "/dev/x")])

    assert "No space left on device" in done.stderr


def test_a_read_only_root_leaves_tmp_and_run_to_write_to(make_sandbox: Make) -> None:
    box = make_sandbox(read_only=True)

    for place in ("/etc/lxs-x", "/lxs-x", "/usr/lxs-x", "/opt/lxs-x", os.getcwd() + "/lxs-x"):
        assert box.run(["touch", place]).returncode != 0, place
    assert "Read-only file system" in box.run(["touch", "/etc/lxs-x"]).stderr
    box.run(["sh", "-c", "echo x > /tmp/x && echo x > /run/x && echo x > /dev/shm/x"], check=True)
    assert box.run(["mount", "-o", "remount,rw", "/"]).returncode != 0
    assert box.path("/etc/hostname").read_text().strip() == box.hostname


def test_a_scratch_folder_on_disk_takes_much_and_is_gone_after(connection: ServiceConnection) -> None:
    with Sandbox(scratch="disk", connection=connection) as box:
        _write_a_lot(box)
        scratch = Path(connection.folder, "scratch", box.id)
        assert scratch.is_dir()

    until(lambda: not scratch.exists(), "its scratch folder is gone")
    assert connection.request("settle")["leaked"] == {"processes": 0, "mounts": 0, "cgroups": 0, "links": 0}


def _write_a_lot(box: Sandbox) -> None:
    box.run(["sh", "-c", FILL.format(20_000_000, "/etc/big") + " && mkdir -m 000 /opt/closed && touch /etc/lxs-x"], check=True)
    if os.geteuid() == 0:
        box.run(["sh", "-c", "rm -rf /etc/alternatives && chown -R 1000:1000 /opt/closed"], check=True)


def test_a_scratch_folder_is_closed_to_others(connection: ServiceConnection) -> None:
    with Sandbox(scratch="disk", connection=connection) as box:
        assert Path(connection.folder, "scratch", box.id).stat().st_mode & 0o077 == 0
        box.run(["true"], check=True, user="1000" if connection.hello.mapping == "range" else None)


def test_a_scratch_folder_has_no_size(make_sandbox: Make) -> None:
    with pytest.raises(HostUnsupported, match="disk="):
        make_sandbox(scratch="disk", disk="5M")
