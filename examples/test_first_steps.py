"""First steps: a sandbox is a fixture, and whatever a test does in one, only the sandbox suffers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lxsandbox import Sandbox


def test_a_command(sandbox: Sandbox) -> None:
    done = sandbox.run(["sh", "-c", "echo hello from pid $$; exit 3"])
    assert done.returncode == 3
    assert done.stdout.startswith("hello from pid ")


def test_everything_can_be_deleted(sandbox: Sandbox) -> None:
    sandbox.run(["rm", "-rf", "--no-preserve-root", "/"])
    assert not sandbox.path("/usr/bin/env").exists()
    assert Path("/usr/bin/env").exists()


@pytest.mark.sandbox(memory="64M")
def test_a_memory_bomb_kills_itself_alone(sandbox: Sandbox) -> None:
    # tail keeps all that it reads of a file without newlines.
    assert sandbox.run(["tail", "/dev/zero"]).returncode == -9
    assert sandbox.stats().oom_kills == 1
    assert sandbox.check_output(["echo", "still here"]) == "still here\n"


def test_two_servers_on_the_same_port(make_sandbox: Callable[..., Sandbox]) -> None:
    servers = [make_sandbox() for _ in range(2)]
    for number, server in enumerate(servers):
        _serve(server, f"server {number}")
    for number, server in enumerate(servers):
        with server.connect(8080) as connection:
            assert connection.recv(100) == f"server {number}\n".encode()


def _serve(box: Sandbox, greeting: str) -> None:
    """Starts a server in the sandbox that says one line to one client; returns when it listens."""
    code = """
import socket, sys
with socket.create_server(("127.0.0.1", 8080)) as server:
    print("listening", flush=True)
    client, _ = server.accept()
    with client:
        client.sendall((sys.argv[1] + "\\n").encode())
"""
    server = box.popen(["python3", "-c", code, greeting])
    assert server.stdout is not None
    assert server.stdout.readline() == "listening\n"
