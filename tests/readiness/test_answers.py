"""`Http`: real servers inside, well behaved and otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from events import until
from needs import needs
from readiness.conftest import A_MOMENT, Holds, Make, python

from lxsandbox import Http, Sandbox
from lxsandbox.errors import NotReady

pytestmark = needs("user-namespaces", "overlayfs")

# Answers as the path says, 503 to the first two that ask for /later, and tells what it was asked.
SERVER = """
import http.server
seen = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        seen.append(self.path)
        status = 503 if self.path == "/later" and seen.count("/later") < 3 else 200
        status = int(self.path[1:]) if self.path[1:].isdecimal() else status
        if self.headers.get("X-Key", "k") != "k":
            status = 403
        self.send_response(status)
        self.end_headers()
        self.wfile.write(f"{self.command} {self.headers['Host']} is fine".encode())
    do_HEAD = do_POST = do_GET
    def log_message(self, *_): pass
http.server.HTTPServer(("", 8080), Handler).serve_forever()
"""
# Answers each connection with what it was told, in pieces, and then keeps it open or closes it.
RAW = """
import socket, sys
server = socket.create_server(("", 8080))
held = []
while True:
    client, _ = server.accept()
    client.recv(1000)
    for piece in {pieces}:
        client.sendall(piece)
    held.append(client) if {keep} else client.close()
"""


@contextmanager
def running(box: Sandbox, code: str) -> Iterator[None]:
    with box.popen(python(code)) as server:
        yield
        server.kill()


def test_an_answer_with_a_good_status_will_do(make_sandbox: Make) -> None:
    box = make_sandbox(command=["python3", "-c", SERVER])
    box.wait_until(Http(8080))
    box.wait_until(Http(8080, "/later"))
    box.wait_until(Http(8080, "/404", status=404) & Http(8080, "/301") & Http(8080, "/201", status=[200, 201]))
    wanting = (
        Http(8080, "/404") & Http(8080, "/204", status=200) & Http(8080, headers={"x-key": "no"}) & Http(8080, contains="bad")
    )
    with pytest.raises(NotReady) as caught:
        box.wait_until(wanting, timeout=2 * A_MOMENT)
    assert [seen for _, seen in caught.value.seen] == [
        "status 404 Not Found",
        "status 204 No Content",
        "status 403 Forbidden",
        "status 200 OK, and a body of 26 bytes without 'bad'",
    ]


def test_method_headers_and_body_are_as_asked(make_sandbox: Make) -> None:
    box = make_sandbox(command=["python3", "-c", SERVER])
    box.wait_until(Http(8080, method="POST", headers={"Host": "example.org"}, contains="POST example.org is fine"))
    box.wait_until(Http(8080, contains="GET localhost:8080 is fine"))
    box.wait_until(Http(8080, method="HEAD"))


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"],
        [b"HT", b"TP/1.0 200 OK\r", b"\n\r\n", b"all is rea", b"dy"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nre\r\n", b"3\r\nady\r\n", b"0\r\n\r\n"],
        r"[b'HTTP/1.1 200\r\n\r\nready' + b'x' * 3_000_000]",
    ],
    ids=["length", "pieces", "chunks", "long"],
)
def test_a_body_is_read_as_it_comes(make_sandbox: Make, pieces: object, keep: bool) -> None:
    box = make_sandbox()
    with running(box, RAW.format(pieces=pieces, keep=keep)):
        box.wait_until(Http(8080, contains="ready"))


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        ([b"SSH-2.0-nobody\r\n\r\n"], "not HTTP"),
        ([], "closed connection without response"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: -7\r\nA: b\r\n\r\n"], "a body of 0 bytes without 'ready'"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"], "without 'ready'"),
        ([b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 2000 + b"\r\n"], "not HTTP: got more than 100 headers"),
        ([b"HTTP/1.1 99999999999999999999 OK\r\n\r\n"], "not HTTP"),
    ],
)
def test_nonsense_is_told_of_and_asked_again(make_sandbox: Make, pieces: list[bytes], told: str) -> None:
    box = make_sandbox()
    with running(box, RAW.format(pieces=pieces, keep=False)), pytest.raises(NotReady, match=told):
        box.wait_until(Http(8080, contains="ready"), timeout=A_MOMENT)


def test_a_server_that_says_nothing_is_left_when_time_is_up(alone: Make, holds: Holds) -> None:
    box = alone()
    with running(box, "import socket; s = socket.create_server(('', 8080)); input()"):
        before = holds(box)
        with pytest.raises(NotReady, match="something listens"):
            box.wait_until(Http(8080), timeout=A_MOMENT)
        until(lambda: holds(box) == before, "the service has closed its connection")


def test_a_server_on_ipv6_alone_is_asked_there(make_sandbox: Make) -> None:
    box = make_sandbox()
    code = SERVER.replace('("", 8080)', '("::1", 8080)').replace(
        "seen = []", "seen = []; http.server.HTTPServer.address_family = 10"
    )
    with running(box, code):
        box.wait_until(Http(8080))


def test_what_listens_elsewhere_than_on_loopback_is_told_of(make_sandbox: Make) -> None:
    box = make_sandbox()
    elsewhere = "import socket; s = socket.create_server(('127.0.0.2', 8080)); input()"
    with running(box, elsewhere), pytest.raises(NotReady, match="refused: what listens does so at another address"):
        box.wait_until(Http(8080), timeout=A_MOMENT)
