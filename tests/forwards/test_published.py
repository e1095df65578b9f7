"""Ports of the host that a spec asks for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest
from needs import needs

from lxsandbox import Sandbox, SandboxError
from lxsandbox.sandbox.connection import ServiceConnection

from .clients import dial, says_back
from .conftest import Serve

pytestmark = needs("user-namespaces", "overlayfs")

Make = Callable[..., Sandbox]


@pytest.fixture
def free() -> int:
    """A port that nobody has; of those the kernel gives to clients, this one least likely comes next."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_fixed_port_is_had_once_the_sandbox_is_made(make_sandbox: Make, serve: Serve, free: int) -> None:
    box = make_sandbox(ports={80: free, 81: None})
    serve(box, "echo", "127.0.0.1", "80")

    with dial(("127.0.0.1", free)) as client:
        assert says_back(client)
    assert box.address(80) == ("127.0.0.1", free)
    assert box.address(81)[1] != free


def test_its_port_is_free_again_once_it_is_closed(make_sandbox: Make, free: int) -> None:
    for _ in range(5):
        make_sandbox(ports={80: free}).close()


def test_a_port_that_another_process_has_is_an_error_that_names_it(make_sandbox: Make) -> None:
    script = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        with pytest.raises(SandboxError, match=rf"port {port} .* is taken by process {holder.pid} \(.*python.*socket"):
            make_sandbox(ports={80: port})
        holder.communicate("")


def test_one_that_another_sandbox_has_names_the_sandbox(make_sandbox: Make, free: int) -> None:
    make_sandbox(name="first", ports={80: free})

    with pytest.raises(SandboxError, match="is taken by sandbox first of this run"):
        make_sandbox(ports={8080: free})


def test_one_that_another_run_has_names_the_run(make_sandbox: Make, connection: ServiceConnection, free: int) -> None:
    with Sandbox(connection=connection, ports={80: free}) as other:
        with pytest.raises(SandboxError, match=f"is taken by a sandbox of the run {connection.hello.run}"):
            make_sandbox(ports={80: free})
        assert other.address(80) == ("127.0.0.1", free)


def test_udp_has_ports_of_its_own(make_sandbox: Make, free: int) -> None:
    box = make_sandbox(ports={53: free, "53/udp": free})

    assert box.address(53) == box.address(53, "udp") == ("127.0.0.1", free)
    with pytest.raises(SandboxError, match="is taken by sandbox"):
        make_sandbox(ports={"5353/udp": free})


def test_one_that_is_for_root_alone_says_so(make_sandbox: Make) -> None:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        if os.geteuid() == 0 or int(file.read()) <= 1:
            pytest.skip("every port is for everybody here")
    with pytest.raises(SandboxError, match="port 1 of this host is not for you"):
        make_sandbox(ports={80: 1})


def test_a_fork_has_free_ports_in_their_place(make_sandbox: Make, free: int) -> None:
    box = make_sandbox(ports={80: free, "53/udp": None})

    with box.fork() as forked:
        assert set(forked.spec.ports) == {"80/tcp", "53/udp"}
        assert forked.address(80) != box.address(80)


@pytest.mark.sandbox(ports=[8000, "/srv/it.sock"])
def test_a_marker_takes_them_too(sandbox: Sandbox, serve: Serve) -> None:
    serve(sandbox, "echo", "/srv/it.sock")

    with dial(sandbox.address("/srv/it.sock")) as client:
        assert says_back(client)
