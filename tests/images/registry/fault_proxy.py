"""An HTTP server in front of a registry that does what it is told to do wrong, and remembers what it was asked.

A fault takes an Exchange, and answers it. What no fault is for is passed on to the registry as it is.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = [
    "Asked", "Exchange", "Fault", "FaultProxy", "Reply", "answer", "changed_header", "dropped", "endless", "flipped", "hung_up",
    "running_proxy", "stalled", "truncated", "whole_instead_of_a_range",
]  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What a client asked."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class Reply:
    """What the registry said."""

    status: int
    headers: dict[str, str]
    body: bytes


class Exchange:
    """One request that waits for its answer."""

    def __init__(self, handler: Any, asked: Asked, body: bytes, proxy: FaultProxy) -> None:
        self._handler = handler
        self.asked = asked
        self.body = body
        self.proxy = proxy

    def forward(self, *, without: tuple[str, ...] = (), path: str = "", body: bytes | None = None) -> Reply:
        """What the registry says to the request, sent without these headers, to another path or with another body."""
        body = self.body if body is None else body
        dropped_headers = {"host", "content-length", "transfer-encoding", *(name.lower() for name in without)}
        headers = {name: value for name, value in self.asked.headers.items() if name.lower() not in dropped_headers}
        with contextlib.closing(http.client.HTTPConnection(self.proxy.upstream)) as connection:
            connection.request(self.asked.method, path or self.asked.path, body, headers)
            response = connection.getresponse()
            found = {name: value for name, value in response.headers.items() if name.lower() != "date"}
            if "Location" in found:
                found["Location"] = found["Location"].replace(f"http://{self.proxy.upstream}", self.proxy.url)
            return Reply(response.status, found, response.read())

    def send(self, reply: Reply, *, body: bytes | None = None) -> None:
        """Answer with the reply's head, and with its body or another one, which may be shorter than the head says."""
        self._handler.send_response(reply.status)
        for name, value in reply.headers.items():
            self._handler.send_header(name, value)
        if not {"content-length", "transfer-encoding"} & {name.lower() for name in reply.headers} and reply.status != 204:
            self._handler.send_header("Content-Length", str(len(reply.body)))
        self._handler.end_headers()
        if self.asked.method != "HEAD":
            self._handler.wfile.write(reply.body if body is None else body)

    def write(self, data: bytes) -> None:
        self._handler.wfile.write(data)

    def hang_up(self) -> None:
        """End the connection."""
        self._handler.close_connection = True


Fault = Callable[[Exchange], None]


@dataclass
class _Rule:
    method: str
    path: re.Pattern[str]
    fault: Fault
    times: float


@dataclass
class FaultProxy:
    """The proxy as tests see it. `upstream` is the registry's host."""

    upstream: str
    host: str = ""
    scheme: str = "http"
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    def on(self, method: str, path: str, fault: Fault, *, times: float = float("inf")) -> None:
        """Do that for requests whose path matches, this many times; what was said first goes first."""
        self._rules.append(_Rule(method, re.compile(path), fault, times))

    def count(self, method: str, path: str) -> int:
        """How often that was asked."""
        return len(self.requests(method, path))

    def requests(self, method: str, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == method and re.search(path, asked.path)]

    def fault_for(self, asked: Asked) -> Fault:
        with self._lock:
            self.asked.append(asked)
            for rule in self._rules:
                if rule.method == asked.method and rule.times > 0 and rule.path.search(asked.path):
                    rule.times -= 1
                    return rule.fault
        return _passed_on


def _passed_on(exchange: Exchange) -> None:
    exchange.send(exchange.forward())


def answer(status: int, body: bytes = b"", **headers: str) -> Fault:
    """That answer; a `_` in the name of a header stands for `-`."""
    return lambda exchange: exchange.send(Reply(status, {name.replace("_", "-"): text for name, text in headers.items()}, body))


def dropped(after: int) -> Fault:
    """The connection ends in the middle of the body."""

    def fault(exchange: Exchange) -> None:
        reply = exchange.forward()
        exchange.send(reply, body=reply.body[:after])
        exchange.hang_up()

    return fault


def hung_up(exchange: Exchange) -> None:
    """No answer at all."""
    exchange.hang_up()


def flipped(at: int) -> Fault:
    """One bit of the body is another."""

    def fault(exchange: Exchange) -> None:
        reply = exchange.forward()
        body = bytearray(reply.body)
        body[at] ^= 1
        exchange.send(reply, body=bytes(body))

    return fault


def truncated(to: int) -> Fault:
    """A shorter body, and a length that says so."""

    def fault(exchange: Exchange) -> None:
        reply = exchange.forward()
        exchange.send(Reply(reply.status, {**reply.headers, "Content-Length": str(to)}, reply.body[:to]))

    return fault


def stalled(exchange: Exchange) -> None:
    """The head, and then nothing."""
    exchange.send(exchange.forward(), body=b"")
    exchange.proxy.closing.wait()
    exchange.hang_up()


def endless(exchange: Exchange) -> None:
    """A body that goes on for as long as somebody reads."""
    head = Reply(200, {"Transfer-Encoding": "chunked", "Content-Type": "application/octet-stream"}, b"")
    exchange.send(head)
    with contextlib.suppress(OSError):
        while not exchange.proxy.closing.is_set():
            exchange.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
    exchange.hang_up()


def changed_header(name: str, value: str) -> Fault:
    """The answer with another header."""

    def fault(exchange: Exchange) -> None:
        reply = exchange.forward()
        exchange.send(Reply(reply.status, {**reply.headers, name: value}, reply.body))

    return fault


def whole_instead_of_a_range(exchange: Exchange) -> None:
    """No ranges here."""
    exchange.send(exchange.forward(without=("Range",)))


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # joined at the end
    request_queue_size = 64

    def __init__(self, proxy: FaultProxy, address: str, tls: ssl.SSLContext | None) -> None:
        super().__init__((address, 0), _Handler)
        self.proxy = proxy
        self.open: set[socket.socket] = set()
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def get_request(self) -> tuple[socket.socket, Any]:
        accepted, address = super().get_request()
        self.open.add(accepted)
        return accepted, address

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that goes away, or does not trust our certificate, is what tests are about

    def end(self) -> None:
        self.proxy.closing.set()
        self.shutdown()
        for each in list(self.open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        proxy = self.server.proxy
        asked = Asked(self.command, self.path, dict(self.headers.items()))
        proxy.fault_for(asked)(Exchange(self, asked, body, proxy))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # whatever the method: the fault decides
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        pass


@contextlib.contextmanager
def running_proxy(upstream: str = "", *, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Generator[FaultProxy]:
    """A proxy on a port of its own."""
    proxy = FaultProxy(upstream, scheme="http" if tls is None else "https")
    server = _Server(proxy, address, tls)
    proxy.host = f"{address}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield proxy
    finally:
        server.end()
        thread.join()
