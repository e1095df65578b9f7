"""Snapshots of sandboxes over the host's own files: what was written shows, and what is hidden of the host stays so."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.rootfs.host_image import HIDDEN_FOLDERS, SECRET_FILES

pytestmark = needs("user-namespaces", "overlayfs")

Start = Callable[..., Sandbox]


def sh(sandbox: Sandbox, script: str) -> str:
    return sandbox.check_output(["sh", "-ec", script])


def test_what_was_written_shows_in_a_fork(start: Start) -> None:
    first = start("host")
    sh(first, "mkdir -p /data/deep; echo 1 > /data/deep/file; echo 2 > /top; ln -s top /link; echo 3 > /usr/mine; touch /var/x")

    with first.fork() as second:
        assert sh(second, "cat /data/deep/file /link /usr/mine; ls /var/x") == "1\n2\n3\n/var/x\n"
        assert second.diff() == []


def test_what_was_written_to_a_hidden_folder_shows_in_a_fork(start: Start) -> None:
    first = start("host")
    sh(first, "echo r > /root/r; echo t > /tmp/t; mkdir -p /home/me; echo h > /home/me/h; echo v > /var/tmp/v; echo u > /run/u")

    with first.fork() as second:
        assert sh(second, "cat /root/r /tmp/t /home/me/h /var/tmp/v /run/u") == "r\nt\nh\nv\nu\n"
        assert sh(second, "stat -c '%a %n' /tmp /root /home") == sh(first, "stat -c '%a %n' /tmp /root /home")
        assert second.diff() == []


@needs("root")  # a plain user does not own the host's files, inside either
def test_what_was_removed_stays_so(start: Start) -> None:
    first = start("host")
    sh(first, "rm /usr/bin/env; rm -r /usr/share/doc; mkdir /usr/share/doc; touch /usr/share/doc/only")

    with first.fork() as second:
        assert not second.path("/usr/bin/env").exists()
        assert sh(second, "ls /usr/share/doc") == "only\n"
        assert second.diff() == []


def test_a_chain_goes_on_from_where_it_was(start: Start) -> None:
    first = start("host")
    sh(first, "echo 1 > /top; mkdir /data; echo 1 > /data/one; echo 1 > /root/one; ln -s top /link")
    with first.fork() as second:
        sh(second, "echo 2 >> /top; echo 2 > /data/two; rm /data/one /root/one /link; touch /root/two")
        with second.fork() as third:
            assert sh(third, "cat /top; ls /data; ls /root/one /root/two /link 2>/dev/null || true") == "1\n2\ntwo\n/root/two\n"
            assert third.diff() == []
            sh(third, "rm -r /top /data/two")
            with third.fork() as fourth:
                assert sh(fourth, "ls -d /top /data/* 2>/dev/null || true") == ""
                assert fourth.diff() == []


def test_no_secret_comes_back(start: Start) -> None:
    first = start("host")
    sh(first, "for f in /etc /var /root /home /tmp /usr; do touch $f/.mine || true; done")
    look = " ".join([*SECRET_FILES, *(f"/{folder}/*" for folder in HIDDEN_FOLDERS)])

    with first.fork() as second:
        for sandbox in (first, second):
            names = sh(sandbox, f"ls -d {look} 2>/dev/null || true").split()
            assert not [name for name in names if not _is_shown(name)]
        assert sh(second, "cut -d: -f2 /etc/shadow | sort -u 2>/dev/null || true") in ("*\n", "")


def _is_shown(path: str) -> bool:
    """Whether it lies on the way to the interpreter or to the folder of these tests, which are shown by name."""
    return any(shown.is_relative_to(path) for shown in (Path(os.path.realpath("/usr/bin")), *_SHOWN))


_SHOWN = [Path(os.path.realpath(path)) for path in (os.getcwd(), os.sys.prefix, os.sys.base_prefix)]  # type: ignore[attr-defined]


def test_a_secret_place_that_was_written_to_has_what_was_written_alone(start: Start) -> None:
    first = start("host")
    sh(first, "mkdir -p /var/backups; echo mine > /var/backups/mine")

    with first.fork() as second:
        assert sh(second, "ls -A /var/backups") == "mine\n"


def test_what_each_sandbox_has_of_its_own_is_new(start: Start) -> None:
    first = start("host")
    sh(first, "touch /usr/mine")

    with first.fork() as second:
        assert sh(second, "cat /etc/hostname") == f"{second.hostname}\n"


def test_one_with_nothing_changed_is_an_image_all_the_same(start: Start) -> None:
    start("host").snapshot("plain-host")

    sandbox = start("plain-host")

    assert sandbox.diff() == []
    assert sandbox.path("/usr/bin/env").exists()


def test_a_read_only_sandbox_over_one_is_read_only_everywhere(start: Start) -> None:
    first = start("host")
    sh(first, "mkdir /data; touch /data/x /usr/x /top")
    first.snapshot("host-with-data")

    sandbox = start("host-with-data", read_only=True)

    for path in ("/data/y", "/usr/y", "/y", "/root/y"):
        assert "Read-only" in sandbox.run(["touch", path]).stderr, path


@pytest.mark.parametrize("image", ["host", "project-host"])
def test_the_project_shows_with_what_was_changed_of_it(start: Start, image: str) -> None:
    here = Path(__file__).resolve().parent
    first = start("host")
    if not first.path(here).exists():
        pytest.skip("this project lies where nothing is hidden or shown")
    first.path(here / "made-inside").write_text("x")
    if image != "host":
        first.snapshot(image)
        first = start(image)

    with first.fork() as second:
        assert second.path(here / "made-inside").read_text() == "x"
        assert second.path(here / "conftest.py").read_bytes() == (here / "conftest.py").read_bytes()
        assert second.diff() == []
