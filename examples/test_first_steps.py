"""First steps: a sandbox is a fixture, and whatever a test does in one, only the sandbox suffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lxsandbox import Sandbox

SERVER = """
import socket, sys
with socket.create_server(("127.0.0.1", 8080)) as server:
    print("listening", flush=True)
    client, _ = server.accept()
    with client:
        client.sendall(sys.argv[1].encode())
"""


def test_a_command(sandbox: Sandbox) -> None:
    done = sandbox.run(["sh", "-c", "echo hello from pid $$; exit 3"])
    assert done.returncode == 3
    assert done.stdout.startswith("hello from pid ")


def test_everything_can_be_deleted(sandbox: Sandbox) -> None:
    sandbox.path("/tmp/note").write_text("soon gone")
    sandbox.run(["rm", "-rf", "--no-preserve-root", "/"])
    assert not sandbox.path("/tmp/note").exists()
    assert Path("/usr/bin/env").exists()


@pytest.mark.sandbox(memory="64M")
def test_a_memory_bomb_kills_itself_alone(sandbox: Sandbox) -> None:
    # tail keeps all that it reads of a file without newlines.
    assert sandbox.run(["tail", "/dev/zero"]).returncode == -9
    assert sandbox.stats().oom_kills == 1
    assert sandbox.check_output(["echo", "still here"]) == "still here\n"


def test_two_servers_on_the_same_port(make_sandbox: Callable[..., Sandbox]) -> None:
    first, second = make_sandbox(), make_sandbox()
    with serving(first, "first"), serving(second, "second"):
        assert answer(first) == b"first"
        assert answer(second) == b"second"


@contextmanager
def serving(box: Sandbox, greeting: str) -> Iterator[None]:
    """A server in the sandbox that says one thing to one client; it listens once this is entered."""
    with box.popen(["python3", "-c", SERVER, greeting]) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        yield


def answer(box: Sandbox) -> bytes:
    with box.connect(8080) as connection:
        return connection.recv(100)
