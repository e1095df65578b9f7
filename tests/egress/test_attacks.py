"""A sandbox with egress and rights over its own network goes where it should not: the host's loopback, other sandboxes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from egress.outside import Server, address_of_host, attempt, serve
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = [needs("user-namespaces", "overlayfs", "egress"), pytest.mark.security]

Make = Callable[..., Sandbox]
RIGHTS = ["+NET_ADMIN", "+NET_RAW"]
# TCP segments (SYN) to any address, put on the link as they are: no routing of the sandbox's own has a say in where they go.
FORGE = """
import fcntl, socket, struct, sys
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("egress0", 0))
own = fcntl.ioctl(link, 0x8927, struct.pack("256s", b"egress0"))[18:24]
source = socket.inet_ntoa(fcntl.ioctl(link, 0x8915, struct.pack("256s", b"egress0"))[20:24])
socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).close()  # so that the neighbour's address is known
with open("/proc/net/arp") as table:
    other = next(bytes.fromhex(line.split()[3].replace(":", "")) for line in table if "egress0" in line)

def summed(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

def send(target, port, source=source):
    six = ":" in target
    family = socket.AF_INET6 if six else socket.AF_INET
    a, b = socket.inet_pton(family, source), socket.inet_pton(family, target)
    for number in range(3):
        tcp = struct.pack(">HHIIBBHHH", 40000 + number, port, 7, 0, 0x50, 2, 8192, 0, 0)
        check = summed(a + b + struct.pack(">HH", 6, len(tcp)) + tcp)
        tcp = tcp[:16] + struct.pack(">H", check) + tcp[18:]
        if six:
            head = struct.pack(">IHBB", 6 << 28, len(tcp), 6, 64) + a + b
        else:
            head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + a + b
            head = head[:10] + struct.pack(">H", summed(head)) + head[12:]
        link.send(other + own + struct.pack(">H", 0x86DD if six else 0x0800) + head + tcp)

for target in sys.argv[4:]:
    send(target, int(sys.argv[3]), "fd6c:7873:ffff::2" if ":" in target else source)
    if ":" not in target:
        send(target, int(sys.argv[3]), "127.0.0.1")
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as sock:
    sock.sendall(b"hello")
    print(sock.recv(5))
"""
# Addresses that an outlet may take for the host's own loopback: of its gateway, its resolver, the hub, and loopback itself.
ADDRESSES = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.255.252.1", "10.255.252.2", "10.255.252.3", "10.255.252.100", "10.255.248.1",
    "10.0.2.2", "10.0.2.3", "169.254.1.1", "::1", "::", "::ffff:127.0.0.1", "fe80::1", "fd00::2", "fd00::3", "fd6c:7873:fffe::1",
]  # fmt: skip


@pytest.fixture(params=["slirp4netns", "pasta"])
def reaching(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Sandboxes of a run that has this program as its outlet."""
    monkeypatch.setenv("LXSANDBOX_OUTLET", request.param)
    with ExitStack() as undo:
        connection = ServiceConnection.open()
        undo.callback(connection.leave)
        yield lambda **fields: undo.enter_context(Sandbox(connection=connection, **fields))


@needs("pasta")
def test_the_hosts_loopback_is_not_reached(reaching: Make, server: Server, host: str) -> None:
    with ExitStack() as undo:
        hidden = undo.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = hidden.getsockname()[1]
        listeners = [hidden]
        if address_of_host(socket.AF_INET6) is not None:
            listeners.append(undo.enter_context(socket.create_server(("::1", port), family=socket.AF_INET6)))
        for listener in listeners:
            listener.setblocking(False)
        box = reaching(egress=True, capabilities=RIGHTS)

        # At its end it goes where it may: what it sent before has had its effect by then.
        done = box.run(["/usr/bin/python3", "-I", "-S", "-c", FORGE, host, str(server.port), str(port), *ADDRESSES], check=True)

        assert done.stdout == "b'HELLO'\n"
        for listener in listeners:
            with pytest.raises(BlockingIOError):
                listener.accept()


def test_sandboxes_do_not_see_each_other_through_it(make_sandbox: Make, server: Server, host: str) -> None:
    box, other = make_sandbox(egress=True, capabilities=RIGHTS), make_sandbox(egress=True)
    listener = "import socket; s = socket.create_server(('0.0.0.0', 8080)); print('up', flush=True); s.accept()"
    process = other.popen(["/usr/bin/python3", "-I", "-S", "-c", listener])
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    address = other.check_output(["hostname", "-I"]).split()[0]

    said, seconds = attempt(box, address, 8080)

    assert "refused" in said
    assert seconds < 5
    assert process.poll() is None  # it still waits for the first client
    process.kill()
    process.communicate()


def test_the_list_of_another_is_not_had_by_taking_its_address(make_sandbox: Make, server: Server, host: str) -> None:
    allowed = make_sandbox(egress=True)
    address = allowed.check_output(["hostname", "-I"]).split()[0]
    box = make_sandbox(egress=["203.0.113.1"], capabilities=RIGHTS)
    script = """
import socket, sys
sock = socket.socket()
sock.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT: an address that is another's
sock.bind((sys.argv[1], 0))
sock.settimeout(1)  # what is refused goes to the other one
print(sock.connect_ex((sys.argv[2], int(sys.argv[3]))))
"""

    said = box.check_output(["/usr/bin/python3", "-I", "-S", "-c", script, address, host, str(server.port)])

    assert said != "0\n"
    assert server.asked == []
    assert attempt(allowed, host, server.port)[0] == "HELLO"
    with serve(host) as second:
        assert attempt(allowed, host, second.port)[0] == "HELLO"
