"""nginx before three web servers in Python, each a sandbox: requests go round, also while one of them is dead."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable

import pytest

from lxsandbox import Http, Network, Sandbox

pytestmark = pytest.mark.programs("nginx")

WEB = """
import http.server, socket

class Name(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(socket.gethostname().encode())

http.server.ThreadingHTTPServer(("", 8080), Name).serve_forever()
"""
# The name stands for all three: each is an address of it.
BALANCER = """
daemon off; pid /tmp/nginx.pid; error_log stderr; worker_processes 1; user root;
events {}
http {
    access_log off;
    client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
    upstream servers { server web:8080 max_fails=1 fail_timeout=30s; }
    server {
        listen 80;
        location / { proxy_pass http://servers; proxy_connect_timeout 300ms; }
    }
}
"""
START = ["sh", "-c", 'printf %s "$0" > /tmp/nginx.conf; exec nginx -e stderr -c /tmp/nginx.conf', BALANCER]


@pytest.fixture
def servers(make_sandbox: Callable[..., Sandbox], sandbox_network: Network) -> list[Sandbox]:
    """Three web servers that answer with their names, and share the name `web`."""
    command = ["python3", "-c", WEB]
    ready = Http(8080)
    return [
        make_sandbox(name=f"web-{number}", aliases=["web"], networks=[sandbox_network], command=command, ready=ready)
        for number in range(3)
    ]


@pytest.fixture
def balancer(make_sandbox: Callable[..., Sandbox], sandbox_network: Network, servers: list[Sandbox]) -> Sandbox:
    """nginx, which goes round the addresses that `web` had when it started."""
    return make_sandbox(name="balancer", networks=[sandbox_network], command=START, ready=Http(80))


def answers(url: str, count: int) -> set[str]:
    """All the different answers to so many requests."""
    return {urllib.request.urlopen(url, timeout=10).read().decode() for _ in range(count)}


def test_requests_go_to_all_three(balancer: Sandbox) -> None:
    assert answers(balancer.url(80), 12) == {"web-0", "web-1", "web-2"}


def test_one_that_is_killed_is_left_out(balancer: Sandbox, servers: list[Sandbox]) -> None:
    servers[1].kill()

    assert answers(balancer.url(80), 12) == {"web-0", "web-2"}


def test_one_that_is_cut_off_is_left_out(balancer: Sandbox, servers: list[Sandbox], sandbox_network: Network) -> None:
    sandbox_network.isolate(servers[2])

    assert answers(balancer.url(80), 12) == {"web-0", "web-1"}
