"""The service asks the spawner, and the spawner's clone unpacks: the request says in which form."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from images.unpack.making import END, file
from images.unpack.unpacking import AS, RUNTIME
from needs import needs

from lxsandbox import wire

pytestmark = needs("user-namespaces")

_SERVE = """
import socket, sys
sys.path.insert(0, sys.argv[1])
from lxsandbox.spawner.loop import Spawner
Spawner(socket.socket(fileno=int(sys.argv[2]))).serve()
"""


def asked(archive: bytes, root: Path, form: str) -> tuple[int, str]:
    """The exit code of the clone that unpacked, and what it reported."""
    root.mkdir(0o755)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stream, sink = os.pipe()
    report, report_end = os.pipe()
    command = [*AS["single"], sys.executable, "-I", "-c", _SERVE, RUNTIME, str(theirs.fileno())]
    with ours, theirs, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as spawner:
        wire.send(ours, {"id": 1, "op": "unpack", "path": str(root), "form": form}, [stream, report_end])
        for fd in (stream, report_end):
            os.close(fd)
        with open(sink, "wb") as end:
            end.write(archive)
        received = wire.receive(ours)
        assert received is not None
        (pidfd,) = received[1]
        with open(report, "rb") as end:
            said = end.read().decode()
        ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)  # CLONE_PARENT: it is a child of the service, here of this test
        os.close(pidfd)
        ours.shutdown(socket.SHUT_RDWR)
        assert spawner.wait(10) == 0
    assert ended is not None
    return ended.si_status, said


@pytest.mark.parametrize("form", ["root", "layer"])
def test_the_form_of_an_archive_comes_with_the_request(tmp_path: Path, form: str) -> None:
    assert asked(file(b".wh.x") + END, tmp_path / "root", form) == (0, "")

    (found,) = (tmp_path / "root").iterdir()
    assert (found.name, stat.S_ISCHR(found.lstat().st_mode)) == ((".wh.x", False) if form == "root" else ("x", True))


def test_why_an_archive_was_refused_is_reported(tmp_path: Path) -> None:
    assert asked(file(b"../x") + END, tmp_path / "root", "layer") == (1, "entry '../x': leads out of the root")
