"""`Port`: who listens is seen, whatever the address, and nobody is disturbed."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from needs import needs
from readiness.conftest import A_MOMENT, Holds, Make, listening, python

from lxsandbox import Port
from lxsandbox.errors import NotReady

pytestmark = needs("user-namespaces", "overlayfs")


@pytest.mark.parametrize(
    ("address", "family"),
    [("127.0.0.1", "AF_INET"), ("127.9.8.7", "AF_INET"), ("0.0.0.0", "AF_INET"), ("::1", "AF_INET6"), ("::", "AF_INET6")],
)
def test_a_port_counts_at_whatever_address(make_sandbox: Make, address: str, family: str) -> None:
    box = make_sandbox()
    with box.popen(listening(5432, address, family)) as server:
        box.wait_until(Port(5432))
        server.kill()


def test_who_waits_in_vain_is_told_who_listens(make_sandbox: Make) -> None:
    box = make_sandbox()
    with pytest.raises(NotReady, match="nothing listens on any port"):
        box.wait_until(Port(5432), timeout=A_MOMENT)

    with box.popen(listening(5432)) as server:
        box.wait_until(Port(5432))
        with pytest.raises(NotReady, match="only on 5432"):
            box.wait_until(Port(5433), timeout=A_MOMENT)
        server.kill()


def test_a_wait_returns_when_the_server_listens_and_not_before(make_sandbox: Make, apart: ThreadPoolExecutor) -> None:
    box = make_sandbox()
    code = (
        "import socket, time; s = socket.socket(); s.bind(('', 80)); input()\n"
        "now = time.monotonic_ns(); s.listen(); print(now, flush=True); input()"
    )
    with box.popen(python(code)) as server:
        returned = apart.submit(lambda: box.wait_until(Port(80)) or time.monotonic_ns())
        server.stdin.write("\n")
        server.stdin.flush()
        listened = int(server.stdout.readline())

        assert returned.result(timeout=30) > listened
        server.kill()


def test_nothing_connects_to_what_listens(make_sandbox: Make) -> None:
    box = make_sandbox()
    code = "import socket; s = socket.create_server(('', 80)); s.accept(); print('somebody came', flush=True); input()"
    with box.popen(python(code)) as server:
        box.wait_until(Port(80))
        with box.connect(80):
            assert server.stdout.readline() == "somebody came\n"
        server.kill()


def test_a_socket_that_is_only_bound_or_connected_does_not_count(make_sandbox: Make) -> None:
    box = make_sandbox()
    code = (
        "import socket; s = socket.create_server(('', 80)); b = socket.socket(); b.bind(('', 81))\n"
        "c = socket.create_connection(('127.0.0.1', 80), source_address=('', 82)); print('.', flush=True); input()"
    )
    with box.popen(python(code)) as server:
        assert server.stdout.readline() == ".\n"
        with pytest.raises(NotReady, match="only on 80"):
            box.wait_until(Port(81) | Port(82), timeout=A_MOMENT)
        server.kill()


def test_in_the_hosts_network_the_hosts_list_counts(make_sandbox: Make) -> None:
    box = make_sandbox(network="host")
    with socket.create_server(("127.0.0.1", 0)) as server:
        box.wait_until(Port(server.getsockname()[1]))


def test_many_listeners_are_looked_through(alone: Make, holds: Holds) -> None:
    box = alone()
    code = "import socket; s = [socket.create_server(('', 1000 + n)) for n in range(900)]; print('.', flush=True); input()"
    with box.popen(python(code)) as server:
        assert server.stdout.readline() == ".\n"
        before = holds(box)
        box.wait_until(Port(1000) & Port(1899))
        with pytest.raises(NotReady, match=r"1000, 1001, .* and more"):
            box.wait_until(Port(1900), timeout=A_MOMENT)
        assert holds(box) == before
        server.kill()
