"""Readiness: how long after a server is ready its test goes on. The clock is one for all: no sandbox has a time namespace."""

from __future__ import annotations

import time
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor

from lab import Lab
from table import Section, row
from timing import Figures

from lxsandbox import File, Http, Port, Sandbox
from lxsandbox.conditions import Condition, Log

__all__ = ["measure_readiness"]

_ONE, _AMONG, _FILE, _HTTP, _LOG = "Port", "Port, 100 other waits", "File", "Http", "Log"
_OTHERS = 100
_TARGET_MS = 5.0
_BEGUN_SECONDS = 0.03  # a wait that was asked for so long ago has begun
# Each says when it did it, taken before it does.
_SERVER = """
import http.server, sys, time
server = http.server.HTTPServer(("127.0.0.1", 8080), http.server.SimpleHTTPRequestHandler, bind_and_activate=False)
server.server_bind()
sys.stdin.readline()
now = time.monotonic_ns()
{act}
print(now, flush=True)
{then}
sys.stdin.read()
"""
_PRINTS = """
import select, time
select.select([], [], [], 0.1)
print(time.monotonic_ns(), "ready", flush=True)
select.select([], [], [])
"""
_LISTEN = "server.server_activate()"
_ACTS = {
    _ONE: (Port(8080), _LISTEN, ""),
    _HTTP: (Http(8080), _LISTEN, "server.handle_request()"),
    _FILE: (File("/run/ready"), "open('/run/ready', 'w').close()", ""),
}


def measure_readiness(lab: Lab, rounds: int) -> Section:
    """From what is waited for to the return of `wait_until`."""
    with lab.usual() as box:
        taken = {name: Figures.of([_late_ms(box, *act) for _ in range(rounds)]) for name, act in _ACTS.items()}
    with ThreadPoolExecutor(_OTHERS) as apart, lab.usual() as box:  # whose end ends the other waits
        others = [apart.submit(box.wait_until, Port(9000 + number)) for number in range(_OTHERS)]
        futures.wait(others, timeout=10 * _BEGUN_SECONDS)
        taken[_AMONG] = Figures.of([_late_ms(box, *_ACTS[_ONE]) for _ in range(rounds)])
    taken[_LOG] = Figures.of([_late_line_ms(lab) for _ in range(rounds)])
    rows = [row(taken, _ONE, median_at_most_ms=_TARGET_MS)]
    rows += [row(taken, name) for name in (_AMONG, _HTTP, _FILE, _LOG)]
    return Section(title="From ready to the return of `wait_until`", about=_ABOUT, rows=rows)


def _late_ms(box: Sandbox, condition: Condition, act: str, then: str) -> float:
    with box.popen(["python3", "-c", _SERVER.format(act=act, then=then)]) as server, ThreadPoolExecutor(1) as apart:
        returned = apart.submit(_return_of, box, condition)
        futures.wait((returned,), timeout=_BEGUN_SECONDS)
        server.stdin.write("\n")
        server.stdin.flush()
        late = returned.result() - int(server.stdout.readline())
        server.kill()
    box.path("/run/ready").unlink(missing_ok=True)
    return late / 1e6


def _late_line_ms(lab: Lab) -> float:
    with Sandbox(connection=lab.connection, command=["python3", "-c", _PRINTS]) as box:
        returned = _return_of(box, Log("ready"))
        return (returned - int(box.logs().split()[0])) / 1e6


def _return_of(box: Sandbox, condition: Condition) -> int:
    box.wait_until(condition)
    return time.monotonic_ns()


_ABOUT = """\
A process in a sandbox listens, answers, makes a file or prints a line, and says by the clock of the machine when it began to; \
compared with the moment when `wait_until`, called before that, has returned in the test. Of the lines each is by a sandbox of \
its own."""
