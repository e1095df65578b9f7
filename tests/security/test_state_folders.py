"""Classes 9, 20 and 21 of the threat model: where runs keep their state, its removal, and names."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from needs import needs
from security.attack import attempt
from security.conftest import Outside

from lxsandbox import Sandbox, SandboxError
from lxsandbox.errors import SpecError
from lxsandbox.sandbox.connection import default_connection, release_default_connection
from lxsandbox.sandbox.launching import dial
from lxsandbox.service.leftovers import remove_dead_runs
from lxsandbox.service.run_folder import base_folder, make_run_folder

pytestmark = pytest.mark.security

_LITTER = """
for folder in ("/var/litter", "/tmp/litter", "/litter"):
    os.makedirs(folder)
    os.symlink({outside!r}, folder + "/folder")
    os.symlink({file!r}, folder + "/file")
    os.symlink("../" * 30 + {outside!r}, folder + "/relative")
    os.mkdir(folder + "/closed"); os.mkdir(folder + "/closed/below"); os.chmod(folder + "/closed", 0)
    os.mkfifo(folder + "/fifo")
    os.symlink(folder, folder + "/loop")
"""


def _litter(sandbox: Sandbox, outside: Outside) -> None:
    attempt(sandbox, _LITTER.format(outside=str(outside.folder), file=str(outside.file)))


@pytest.mark.parametrize("scratch", ["memory", "disk"])
def test_closing_follows_no_link(own_run: Path, outside: Outside, scratch: str) -> None:
    with Sandbox(scratch=scratch) as sandbox:
        _litter(sandbox, outside)
        assert len(list(own_run.glob("runs/*/scratch/*"))) == (1 if scratch == "disk" else 0)

    # The service has ended with its only sandbox, so all that it removes it has removed.
    assert list(own_run.glob("runs/*")) == []
    outside.check()


def test_removing_trees_from_outside_follows_no_link(sandbox: Sandbox, outside: Outside) -> None:
    _litter(sandbox, outside)

    sandbox.path("/tmp/litter/folder").unlink()
    for name in ("/var/litter", "/tmp/litter", "/litter"):
        with suppress(OSError):
            sandbox.run(["rm", "-rf", name], check=True)


@needs("root")
def test_cleaning_up_after_a_service_that_was_killed_follows_no_link(own_run: Path, outside: Outside) -> None:
    # A plain user's dead run may hold files of ids that only a new user namespace can remove, so this is root's.
    with suppress(SandboxError), Sandbox(scratch="disk") as sandbox:
        _litter(sandbox, outside)
        (scratch,) = own_run.glob("runs/*/scratch/*")
        connection = default_connection()
        os.kill(connection.hello.pid, signal.SIGKILL)
        release_default_connection(connection)

    with suppress(SandboxError):
        remove_dead_runs()

    assert not scratch.exists()


def _make_unsafe(base: Path, kind: str, outside: Outside) -> None:
    if kind == "link":
        base.symlink_to(outside.folder)
    elif kind == "file":
        base.write_text("")
    else:
        base.mkdir(mode=0o700)
        if kind == "foreign":
            os.chown(base, 12345, 12345)
        else:
            base.chmod({"writable": 0o777, "readable": 0o755, "of a group": 0o770}[kind])


_KINDS = ["link", "file", "writable", "readable", "of a group", pytest.param("foreign", marks=needs("root"))]


@pytest.mark.parametrize("kind", _KINDS)
def test_a_base_folder_that_others_could_touch_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside: Outside, kind: str
) -> None:
    _make_unsafe(tmp_path / "base", kind, outside)
    monkeypatch.setenv("LXSANDBOX_RUNTIME_DIR", str(tmp_path / "base"))

    with pytest.raises(SandboxError, match="not safe"):
        base_folder()
    with pytest.raises(SandboxError, match="not safe"):
        Sandbox()


@pytest.mark.parametrize("kind", _KINDS)
def test_a_run_folder_that_others_could_touch_is_refused(own_run: Path, outside: Outside, kind: str) -> None:
    _make_unsafe(own_run / "runs" / "mine", kind, outside)

    with pytest.raises(SandboxError, match="not safe"):
        make_run_folder("mine")


def test_the_socket_and_the_folders_are_the_users_alone(own_run: Path) -> None:
    with Sandbox():
        (run,) = (own_run / "runs").iterdir()
        modes = {path.name: path.stat().st_mode & 0o777 for path in (run.parent, run, *run.iterdir())}

    assert modes["socket"] == modes["lock"] == modes["service.log"] == 0o600
    assert modes["runs"] == modes[run.name] == 0o700
    assert not any(mode & 0o077 for mode in modes.values())


_AS_ANOTHER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.connect(sys.argv[1])
try:
    sock.send(b'{"id": 1, "op": "hello", "observer": false, "label": "evil"}')
    print(sock.recv(65536))
except OSError as error:
    print("refused", error)
"""


@needs("root")
def test_another_user_is_not_served_even_where_the_socket_stands_open(own_run: Path) -> None:
    with Sandbox() as sandbox:
        (run,) = (own_run / "runs").iterdir()
        for path, mode in ((own_run, 0o755), (run.parent, 0o755), (run, 0o755), (run / "socket", 0o666)):
            path.chmod(mode)
        command = [sys.executable, "-c", _AS_ANOTHER, str(run / "socket")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        for path in (run.parent, run):
            path.chmod(0o700)

        assert done.stdout == "b''\n" or done.stdout.startswith("refused")
        assert sandbox.check_output(["echo", "on"]) == "on\n"


@needs("root")
def test_a_service_of_another_user_is_not_taken_for_ours(own_run: Path) -> None:
    folder = own_run / "runs"
    listen = (
        "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "server = socket.socket(fileno=0); server.listen(); print('up', flush=True); server.accept()[0].recv(1)"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(f"{folder}/socket")
        with subprocess.Popen([sys.executable, "-c", listen], stdin=server, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            other.stdout.readline()
            with pytest.raises(SandboxError, match="belongs to user 65534"):
                dial(f"{folder}/socket")


@pytest.mark.parametrize("name", ["../x", "a\0b", "x" * 300, "a/b", ".hidden", "-x", ".", "..", "a b", "a\n", "ü", "${x}", "x;y"])
def test_names_that_are_no_names_are_refused(make_sandbox: Callable[..., Sandbox], own_run: Path, name: str) -> None:
    for given in ({"name": name}, {"hostname": name}):
        with pytest.raises(SpecError):
            make_sandbox(**given)
    with pytest.raises(SpecError):
        make_run_folder(name)
    assert list((own_run / "runs").iterdir()) == []


@pytest.mark.parametrize("what", ["name", "hostname", "cwd", "user", "image"])
def test_an_empty_text_is_no_name(make_sandbox: Callable[..., Sandbox], what: str) -> None:
    with pytest.raises(SandboxError):
        make_sandbox(**{what: ""})
