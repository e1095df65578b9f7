"""Egress as options of `lxsandbox run`."""

from __future__ import annotations

import subprocess
import sys

from egress.outside import Server, serve
from needs import needs

pytestmark = needs("user-namespaces", "overlayfs", "egress")

FETCH = (
    "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20); s.send(b'hello'); print(s.recv(9))"
)


def run(*options: str, to: Server) -> subprocess.CompletedProcess[str]:
    host, port = to.sock.getsockname()
    command = ["run", *options, "host", "--", "/usr/bin/python3", "-I", "-S", "-c", FETCH, host, str(port)]
    return subprocess.run(
        [sys.executable, "-m", "lxsandbox.cli", *command], capture_output=True, text=True, timeout=60, check=False
    )


def test_targets_are_named_one_by_one_or_all_at_once(server: Server, host: str) -> None:
    with serve(host) as other:
        assert run("--egress", "example.org", "--egress", f"{host}:{server.port}", to=server).stdout == "b'HELLO'\n"
        assert "ConnectionRefusedError" in run("--egress", f"{host}:{server.port}", to=other).stderr
        assert run("--egress", "all", to=other).stdout == "b'HELLO'\n"


def test_what_is_no_target_is_a_mistake_of_the_command(server: Server) -> None:
    done = run("--egress", "http://example.org", to=server)

    assert done.returncode == 125
    assert "egress holds 'http://example.org'" in done.stderr
