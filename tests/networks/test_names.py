"""The name server inside a sandbox, asked by packets and by the tools that people use."""

from __future__ import annotations

import json
import struct

import pytest
from needs import needs
from networks.conftest import Make, Open
from networks.test_dns import edns, parsed, query, records

from lxsandbox import Network, Sandbox
from lxsandbox.hub import dns

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp", "veth", "bridge")

# Sends each packet to the name server, and prints what comes back; an empty one where nothing does.
EXCHANGE = """
import json, socket, sys
answers = []
for packet in json.loads(sys.stdin.read()):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5 if packet[1] else 0.05)
        sock.connect(("127.0.0.11", 53))
        sock.send(bytes.fromhex(packet[0]))
        try:
            answers.append(sock.recv(65536).hex())
        except TimeoutError:
            answers.append("")
print(json.dumps(answers))
"""

FLOOD = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(("127.0.0.11", 53))
sock.setblocking(False)
while True:
    try:
        sock.send(b"x" * 400)
    except OSError:
        pass
"""


def exchange(box: Sandbox, *packets: bytes, answered: bool = True) -> list[bytes]:
    data = json.dumps([(packet.hex(), answered) for packet in packets])
    done = box.run(["python3", "-c", EXCHANGE], input=data, check=True)
    return [bytes.fromhex(each) for each in json.loads(done.stdout)]


def answer_of(box: Sandbox, packet: bytes) -> tuple[int, list[tuple[int, bytes]]]:
    """The code of the answer, and its records."""
    (answer,) = exchange(box, packet)
    return answer[3] & 0xF, [(kind, data) for kind, _, data in records(answer, parsed(packet)) if kind != dns.OPT]


def test_each_type_of_question_has_its_answer(make: Make, network: Network) -> None:
    box = make(networks=[network], name="db")
    ipv4, ipv6 = bytes.fromhex("0ac00002"), bytes.fromhex("fd6c7873") + bytes(11) + b"\2"

    assert answer_of(box, query(b"DB")) == (0, [(dns.A, ipv4)])
    assert answer_of(box, query(b"db", dns.AAAA)) == (0, [(dns.AAAA, ipv6)])
    assert answer_of(box, query(b"db", dns.ANY)) == (0, [(dns.A, ipv4), (dns.AAAA, ipv6)])
    assert answer_of(box, query(b"db", 15)) == (0, [])  # MX
    assert answer_of(box, query(b"nobody")) == (3, [])
    assert answer_of(box, query(b"2.0.192.10.in-addr.arpa", dns.PTR)) == (0, [(dns.PTR, b"\2db\0")])
    assert answer_of(box, query(b"2." + b"0." * 22 + b"3.7.8.7.c.6.d.f.ip6.arpa", dns.PTR)) == (3, [])
    assert answer_of(box, query(b"2." + b"0." * 23 + b"3.7.8.7.c.6.d.f.ip6.arpa", dns.PTR)) == (0, [(dns.PTR, b"\2db\0")])
    assert answer_of(box, query(b"3.0.192.10.in-addr.arpa", dns.PTR)) == (3, [])
    assert answer_of(box, query(b"db", **edns(1232))) == (0, [(dns.A, ipv4)])


def test_who_shares_an_alias_comes_first_in_turn(make: Make, network: Network) -> None:
    boxes = [make(networks=[network], aliases=["cluster"]) for _ in range(3)]

    firsts = [answer_of(boxes[0], query(b"cluster"))[1][0] for _ in range(6)]

    assert len(set(firsts)) == 3
    assert firsts[:3] == firsts[3:]


def test_an_address_in_a_network_that_one_is_not_in_has_no_name(make: Make, open_network: Open) -> None:
    one, two = make(networks=[open_network()]), make(networks=[open_network()])
    reverse = ".".join(reversed((two.ip or "").split("."))).encode() + b".in-addr.arpa"

    assert answer_of(one, query(reverse, dns.PTR)) == (3, [])
    assert answer_of(two, query(reverse, dns.PTR))[0] == 0


def test_nonsense_is_not_answered_and_the_next_question_is(make: Make, network: Network) -> None:
    box = make(networks=[network], name="db")
    nonsense = [
        b"\0",
        b"x" * 500,
        query(b"db")[:-2],
        query(b"db", flags=0x8000),
        bytes(12),
        struct.pack("!HHHHHH", 1, 0, 1, 0, 0, 0) + b"\xc0\x0c" * 9,
    ]

    assert exchange(box, *nonsense, answered=False) == [b""] * len(nonsense)
    assert answer_of(box, query(b"db"))[0] == 0


def test_a_flood_of_questions_keeps_no_other_sandbox_from_its_answer(make: Make, network: Network) -> None:
    noisy, quiet = make(networks=[network], name="noisy"), make(networks=[network], name="quiet")
    with noisy.popen(["python3", "-c", FLOOD]) as flooding:
        assert answer_of(quiet, query(b"noisy"))[0] == 0
        flooding.kill()


def test_a_name_server_of_the_sandboxes_own_has_all_other_addresses(make: Make, network: Network) -> None:
    box = make(networks=[network], name="db")
    code = "import socket; s = socket.socket(2, 2); s.setsockopt(1, 2, 1); s.bind(('', 53)); print('bound')"

    assert box.check_output(["python3", "-c", code]) == "bound\n"
    assert answer_of(box, query(b"db"))[0] == 0


@needs("dig")
def test_dig_is_answered(make: Make, network: Network) -> None:
    box = make(networks=[network], name="db", aliases=["www.example"])

    assert box.check_output(["dig", "+short", "www.example"]) == f"{box.ip}\n"
    assert box.check_output(["dig", "+short", "-x", box.ip]) == "db.\n"
    assert "status: NXDOMAIN" in box.check_output(["dig", "nobody"])
    assert "status: NOERROR" in box.check_output(["dig", "+edns=0", "+nocookie", "+bufsize=4096", "www.example", "AAAA"])


@needs("busybox")
def test_an_image_without_a_libc_of_its_own_resolves_too(make: Make, network: Network, busybox_image: str) -> None:
    server = make(networks=[network], name="server")
    box = make(networks=[network], image=busybox_image, read_only=True)

    assert str(server.ip) in box.check_output(["busybox", "nslookup", "server"])
    assert box.path("/etc/resolv.conf").read_text().startswith("nameserver 127.0.0.11\n")


@pytest.mark.parametrize("network", ["isolated", "host"])
def test_a_sandbox_in_no_network_has_no_server(make: Make, network: str) -> None:
    box = make(network=network)

    text = box.path("/etc/resolv.conf").read_text()

    assert ("nameserver 127.0.0.11" in text) == (network == "isolated")
    assert box.check_output(["getent", "hosts", box.hostname]).split()[0] == "127.0.1.1"
