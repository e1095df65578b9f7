"""Servers that listen at the address of a network alone, which a sandbox has joined."""

from __future__ import annotations

import socket
from collections.abc import Callable

from needs import needs

from lxsandbox import Network, Sandbox

from .clients import dial, says_back
from .conftest import Serve

pytestmark = needs("user-namespaces", "overlayfs")

Make = Callable[..., Sandbox]


def test_they_are_reached_too(make_sandbox: Make, sandbox_network: Network, serve: Serve) -> None:
    box = make_sandbox(networks=[sandbox_network])
    assert box.ip is not None
    serve(box, "echo", box.ip, "80")
    serve(box, "datagrams", box.ip, "53")

    for _ in range(2):
        with dial(box.address(80)) as client:
            assert says_back(client)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(10)
        peer.connect(box.address(53, "udp"))
        for _ in range(2):
            peer.send(b"x")
            assert peer.recv(100).endswith(b" x")
