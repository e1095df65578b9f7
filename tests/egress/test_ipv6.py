"""IPv6, on a host that has it: here one of the test's own, a network namespace with addresses for documentation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from needs import needs

HOST = """
ip link set lo up; ip link add d0 type veth peer name d1; ip link set d1 up; ip link set d0 up
ip addr add 198.51.100.5/24 dev d0; ip addr add 2001:db8:1::5/64 dev d0 nodad
ip route add default via 198.51.100.1 dev d0; ip -6 route add default via 2001:db8:1::1 dev d0
exec "$@"
"""
ATTEMPTS = """
from egress.outside import attempt, serve
from lxsandbox import Sandbox

HOST = "2001:db8:1::5"
with serve(HOST) as server, serve(HOST) as other, serve(HOST, "udp") as over_udp, serve("198.51.100.5") as over_ipv4:
    with Sandbox(egress=True) as box:
        for each, kind in ((server, "tcp"), (over_udp, "udp")):
            print(attempt(box, HOST, each.port, kind)[0], each.asked)
    with Sandbox(egress=[f"[{HOST}]:{server.port}"]) as box:
        print(attempt(box, HOST, server.port)[0])
        for host, each, kind in ((HOST, other, "tcp"), (HOST, over_udp, "udp"), ("198.51.100.5", over_ipv4, "tcp")):
            said, seconds = attempt(box, host, each.port, kind)
            print(said.split()[0], seconds < 2)
    with Sandbox(egress=["2001:db8:1::/64"]) as box:
        print(attempt(box, HOST, server.port)[0])
"""


@needs("user-namespaces", "overlayfs", "egress", "root", "ip", "unshare")
@pytest.mark.parametrize("program", ["slirp4netns", pytest.param("pasta", marks=needs("pasta"))])
def test_it_is_carried_and_bounded_as_ipv4_is(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LXSANDBOX_OUTLET", program)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=":")

    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", HOST, "sh", sys.executable, "-c", ATTEMPTS],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.stdout.splitlines() == [
        "HELLO ['2001:db8:1::5']",
        "HELLO ['2001:db8:1::5']",
        "HELLO",
        "ConnectionRefusedError True",
        "PermissionError True",
        "ConnectionRefusedError True",
        "HELLO",
    ], done.stderr
