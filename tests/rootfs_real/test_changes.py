"""What `diff()` tells: the user's changes, all of them, and nothing that was there before the user was."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from events import until
from needs import needs

from lxsandbox import Bind, Change, Sandbox, SandboxDied, Tmpfs

pytestmark = needs("user-namespaces", "overlayfs", "busybox")

Make = Callable[..., Sandbox]


def told(box: Sandbox) -> list[str]:
    return [f"{change.kind} {change.path}" for change in box.diff()]


@pytest.mark.parametrize(
    "fields",
    [{}, {"read_only": True}, {"scratch": "disk"}, {"network": "host"}, {"hostname": "other"}, {"nesting": True}],
    ids=str,
)
def test_a_fresh_sandbox_has_changed_nothing(make_sandbox: Make, root: Path, fields: dict[str, object]) -> None:
    assert make_sandbox(**fields).diff() == []
    assert make_sandbox(f"dir:{root}", **fields).diff() == []


def test_what_mounts_need_is_no_change(make_sandbox: Make, root: Path, place: Path) -> None:
    (place / "below").mkdir()
    (place / "file").write_text("text")
    mounts = [
        Bind(place, "/mnt/a/read"),
        Bind(place, "/mnt/a/write", mode="rw"),
        Bind(place, "/mnt/copied", mode="copy"),
        Bind(place / "file", "/mnt/b/file"),
        Tmpfs("/mnt/memory", "1M"),
        Tmpfs("/mnt/copied/below", "1M"),
    ]
    for image in ("host", f"dir:{root}"):
        box = make_sandbox(image, mounts=mounts)
        assert box.diff() == []

        box.run(
            ["sh", "-c", "cd /mnt; echo > memory/x; echo > copied/below/x; echo > copied/new; echo > copied/file; echo > a/x"]
        )
        box.run(["sh", "-c", "echo > /dev/shm/x"], check=True)
        assert told(box) == ["added /mnt/a/x", "changed /mnt/copied/file", "added /mnt/copied/new"]


def test_commands_and_files_read_change_nothing(sandbox: Sandbox) -> None:
    sandbox.run(["true"], check=True)
    assert sandbox.call(abs, -1) == 1
    sandbox.path("/etc/hosts").read_bytes()

    assert sandbox.diff() == []


def test_each_change_is_told_once_and_in_order(small: Make) -> None:
    box = small()
    script = """
        echo > /bin/new; rm /bin/false; chmod 600 /bin/busybox; touch /bin-2; mkdir -p /a/b/c
        rm /etc/hostname; echo > /tmp/x; chmod 700 /tmp
    """
    box.run(["sh", "-c", script])

    assert box.diff() == [
        Change("/a", "added"),
        Change("/a/b", "added"),
        Change("/a/b/c", "added"),
        Change("/bin-2", "added"),
        Change("/bin/busybox", "changed"),
        Change("/bin/false", "removed"),
        Change("/bin/new", "added"),
        Change("/etc/hostname", "removed"),
        Change("/tmp", "changed"),
        Change("/tmp/x", "added"),
    ]


def test_what_was_taken_back_is_no_change(small: Make) -> None:
    box = small()
    box.run(["sh", "-c", "mkdir /new; touch /new/x; rm -r /new; touch /bin/x; rm /bin/x"], check=True)

    assert box.diff() == []


def test_a_folder_that_was_made_anew_has_lost_what_was_in_it(small: Make) -> None:
    box = small()
    script = (
        "cat /bin/busybox > /tmp/busybox; chmod 755 /tmp/busybox; exec /tmp/busybox sh -c 'rm -r /bin; mkdir /bin; touch /bin/sh'"
    )
    box.run(["sh", "-c", script], check=True)

    found = told(box)
    assert "changed /bin/sh" in found
    assert "removed /bin/busybox" in found
    assert not {"changed /bin", "removed /bin"} & set(found)


def test_the_host_s_hidden_folders_count_as_empty_ones(sandbox: Sandbox) -> None:
    sandbox.run(
        ["sh", "-c", "echo > /root/.bashrc; mkdir /home/me; rmdir /var/tmp; echo > /etc/shadow; chmod 711 /home"], check=True
    )

    assert told(sandbox) == [
        *("changed /etc/shadow", "changed /home", "added /home/me", "added /root/.bashrc"),
        *(["removed /var/tmp"] if "removed /var/tmp" in told(sandbox) else []),
    ]


@needs("root")
def test_a_file_where_a_secret_of_the_host_was_hidden_is_added(sandbox: Sandbox) -> None:
    if not Path("/etc/gshadow").exists():
        pytest.skip("this host has no /etc/gshadow")
    sandbox.run(["sh", "-c", "rm -f /etc/passwd; echo > /etc/gshadow; echo > /usr/bin/env; rm /etc/hosts"], check=True)

    assert told(sandbox) == ["added /etc/gshadow", "removed /etc/hosts", "removed /etc/passwd", "changed /usr/bin/env"]


@needs("id-range")
def test_owners_of_folders_are_compared_as_the_sandbox_sees_them(small: Make) -> None:
    box = small()
    box.run(["chown", "0:0", "/bin"], check=True)
    assert box.diff() == []

    box.run(["chown", "1000:1000", "/bin"], check=True)
    assert told(box) == ["changed /bin"]


def test_any_name_is_told_as_it_is(small: Make) -> None:
    names = ["new\nline", "\udcff\udc80", "ä", "n" * 255, " ", "removed x"]
    box = small()
    for name in names:
        box.path(f"/tmp/{name}").write_text("")

    assert {change.path for change in box.diff()} == {f"/tmp/{name}" for name in names}
    assert {change.kind for change in box.diff()} == {"added"}


_NEST = """
import os
os.chdir("/tmp")
for _ in range(2000):
    os.mkdir("deep")
    os.chdir("deep")
"""


def test_a_tree_that_is_deeper_than_any_path_is_told(sandbox: Sandbox) -> None:
    sandbox.run([sys.executable, "-S", "-c", _NEST], check=True)

    found = sandbox.diff()
    assert len(found) == 2000
    assert found[-1].path == "/tmp" + "/deep" * 2000


_MANY = """
import os
for number in range(100000):
    folder = f"/tmp/{number // 1000}"
    number % 1000 or os.mkdir(folder)
    os.close(os.open(f"{folder}/{number}", os.O_CREAT | os.O_WRONLY))
"""


@pytest.mark.slow
def test_a_hundred_thousand_files_are_told(make_sandbox: Make) -> None:
    box = make_sandbox(disk="1G", memory="max")
    box.run([sys.executable, "-S", "-c", _MANY], check=True)

    assert len(box.diff()) == 100_100


@needs("cgroup-freezer")
def test_a_paused_sandbox_is_looked_at_and_stays_paused(small: Make) -> None:
    box = small()
    box.run(["touch", "/new"], check=True)
    box.pause()

    assert told(box) == told(box) == ["added /new"]
    assert box.state == "paused"
    assert not any(task_runs(box))
    box.resume()
    assert box.run(["echo", "on"]).stdout == "on\n"


def task_runs(box: Sandbox) -> list[bool]:
    listed = box._control.connection.request("list")["sandboxes"]
    return [row["state"] == "running" for row in listed if row["id"] == box.id]


_COUNT = ["sh", "-c", "i=0; while :; do i=$((i + 1)); echo $i > /tmp/count; mkdir /tmp/$i; rm -rf /tmp/*; done"]


def test_a_sandbox_that_writes_all_the_while_is_looked_at_and_goes_on(make_sandbox: Make) -> None:
    box = make_sandbox(command=_COUNT)
    until(lambda: box.path("/tmp/count").exists(), "it counts")

    for _ in range(10):
        assert {change.kind for change in box.diff()} <= {"added"}

    box.path("/tmp/count").unlink(missing_ok=True)
    until(lambda: box.path("/tmp/count").exists(), "it goes on")


def test_several_may_look_at_once(small: Make) -> None:
    box = small()
    box.run(["touch", "/new"], check=True)
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(told(box))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [["added /new"]] * 8


def test_one_that_has_ended_tells_why(small: Make) -> None:
    box = small()
    box.kill()
    with pytest.raises(SandboxDied, match="killed"):
        box.diff()


def test_one_that_ends_while_it_is_looked_at_is_gone_at_once(make_sandbox: Make) -> None:
    box = make_sandbox()
    looking: list[object] = []

    def look() -> None:
        try:
            while True:
                looking.append(box.diff())
        except SandboxDied as died:
            looking.append(died)

    thread = threading.Thread(target=look)
    thread.start()
    until(lambda: bool(looking), "it is looked at")
    box.close()
    thread.join()

    assert isinstance(looking[-1], SandboxDied)
