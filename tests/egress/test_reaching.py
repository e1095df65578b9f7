"""What a sandbox with egress reaches, and what none does. The host is the world here: its address is outside of every sandbox."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from egress.outside import Server, address_of_host, attempt, serve
from needs import needs

from lxsandbox import Network, Sandbox
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs", "egress")

Make = Callable[..., Sandbox]
PYTHON = ["/usr/bin/python3", "-I", "-S", "-c"]


def test_without_egress_nothing_is_reached(make_sandbox: Make, server: Server, host: str) -> None:
    said, seconds = attempt(make_sandbox(), host, server.port)

    assert "unreachable" in said
    assert seconds < 5
    assert server.asked == []


def test_with_it_servers_are_reached_over_tcp_and_udp(make_sandbox: Make, server: Server, host: str) -> None:
    box = make_sandbox(egress=True)

    assert attempt(box, host, server.port)[0] == "HELLO"
    with serve(host, "udp") as over_udp:
        assert attempt(box, host, over_udp.port, "udp")[0] == "HELLO"
    assert server.asked == [host]  # to those outside, it is the host that asks


def test_what_refuses_there_is_refused_here_at_once(make_sandbox: Make, host: str) -> None:
    with socket.create_server((host, 0)) as closed:
        port = closed.getsockname()[1]

    said, seconds = attempt(make_sandbox(egress=True), host, port)

    assert "refused" in said
    assert seconds < 5


def test_much_data_comes_through_as_it_was(make_sandbox: Make, host: str) -> None:
    script = """
import hashlib, socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as sock:
    seen = hashlib.sha256()
    while block := sock.recv(1 << 20):
        seen.update(block)
        sock.sendall(block)
print(seen.hexdigest())
"""
    sent = Path("/proc/self/exe").read_bytes()[: 8 << 20]
    with socket.create_server((host, 0)) as listener:
        process = make_sandbox(egress=True).popen([*PYTHON, script, host, str(listener.getsockname()[1])])
        client, _ = listener.accept()
        with client:
            back = b""
            for start in range(0, len(sent), 1 << 18):
                part = sent[start : start + (1 << 18)]
                client.sendall(part)
                while len(back) < start + len(part):
                    back += client.recv(1 << 18)
            client.shutdown(socket.SHUT_WR)
            assert process.wait(30) == 0
    assert back == sent
    process.communicate()


def test_with_the_hosts_network_it_is_given(make_sandbox: Make, server: Server, host: str) -> None:
    assert attempt(make_sandbox(network="host", egress=True), host, server.port)[0] == "HELLO"


def test_it_goes_together_with_networks(make_sandbox: Make, server: Server, host: str) -> None:
    one = make_sandbox(networks=["together"], name="one", egress=True)
    two = make_sandbox(networks=["together"], name="two")
    address = two.check_output([*PYTHON, "import socket; print(socket.gethostbyname('one'))"]).strip()

    listener = "import socket; s = socket.create_server(('0.0.0.0', 80)); print('up', flush=True); s.accept()[0].send(b'inside')"
    process = one.popen([*PYTHON, listener])
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"

    assert attempt(one, host, server.port)[0] == "HELLO"
    assert attempt(two, address, 80)[0] == "inside"
    assert "unreachable" in attempt(two, host, server.port)[0]
    process.wait(30)
    process.communicate()


def test_a_sandbox_that_is_reset_still_has_it(make_sandbox: Make, server: Server, host: str) -> None:
    for networks in ([], ["together"]):
        box = make_sandbox(networks=networks, egress=[f"{host}:{server.port}"])
        box.reset()

        assert attempt(box, host, server.port)[0] == "HELLO"
        with serve(host) as other:
            assert "refused" in attempt(box, host, other.port)[0]


def test_it_outlasts_a_network_that_is_closed(make_sandbox: Make, sandbox_network: Network, server: Server, host: str) -> None:
    box = make_sandbox(networks=[sandbox_network], egress=[f"{host}:{server.port}"])

    sandbox_network.close()

    assert attempt(box, host, server.port)[0] == "HELLO"
    said, seconds = attempt(box, "not-listed.test", 80)
    assert "gaierror" in said  # so its resolver still answers
    assert seconds < 5


@needs("pasta")
def test_pasta_does_it_too_and_over_ipv6(monkeypatch: pytest.MonkeyPatch, server: Server, host: str) -> None:
    monkeypatch.setenv("LXSANDBOX_OUTLET", "pasta")
    connection = ServiceConnection.open()
    try:
        with Sandbox(egress=True, connection=connection) as box:
            assert attempt(box, host, server.port)[0] == "HELLO"
            with serve(host, "udp") as over_udp:
                assert attempt(box, host, over_udp.port, "udp")[0] == "HELLO"
            own6 = address_of_host(socket.AF_INET6)
            if own6 is not None:
                with serve(own6) as over_ipv6:
                    assert attempt(box, own6, over_ipv6.port)[0] == "HELLO"
    finally:
        connection.leave()
