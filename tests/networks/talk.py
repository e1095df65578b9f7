"""What sandboxes say to each other in these tests."""

from __future__ import annotations

import json
from typing import Any

from lxsandbox import Sandbox

__all__ = ["ask", "interfaces", "listen", "look_up"]

_SERVER = """
import os, socket, sys
port, says, over_ipv6 = sys.argv[1:]
options = {"family": socket.AF_INET6, "dualstack_ipv6": True} if over_ipv6 == "True" else {}
server = socket.create_server(("", int(port)), **options)
if os.fork():
    os._exit(0)  # it listens by now
for fd in (0, 1, 2):
    os.dup2(os.open("/dev/null", os.O_RDWR), fd)
while True:
    client, address = server.accept()
    with client:
        client.sendall(f"{says} {address[0]}".encode())
"""
_CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])) as peer:
    print(peer.makefile().read())
"""
_LOOK_UP = """
import json, socket, sys
try:
    found = socket.getaddrinfo(sys.argv[1], 1, type=socket.SOCK_STREAM)
except socket.gaierror as error:
    assert error.errno in (socket.EAI_NONAME, socket.EAI_NODATA), error
    found = []
print(json.dumps([address[0] for *_, address in found]))
"""


def listen(box: Sandbox, port: int = 80, says: str = "hello", *, over_ipv6: bool = True) -> None:
    """Have a server on `port` of all the sandbox's addresses, which says this and who asks."""
    box.check_output(["python3", "-c", _SERVER, str(port), says, str(over_ipv6)])


def ask(box: Sandbox, host: str, port: int = 80, *, seconds: float = 5) -> str:
    """What a server says to the sandbox; the last line of the error where it says nothing."""
    done = box.run(["python3", "-c", _CLIENT, host, str(port), str(seconds)])
    return str(done.stdout.strip() or done.stderr.strip().rpartition("\n")[2])


def look_up(box: Sandbox, name: str) -> set[str]:
    """The addresses that a name has in the sandbox; none where there is no such name, or it has none."""
    return set(json.loads(box.check_output(["python3", "-c", _LOOK_UP, name])))


def interfaces(box: Sandbox) -> list[str]:
    """The network interfaces that it has but loopback."""
    lines: list[Any] = box.check_output(["cat", "/proc/net/dev"]).splitlines()[2:]
    return sorted(line.partition(":")[0].strip() for line in lines if not line.strip().startswith("lo:"))
