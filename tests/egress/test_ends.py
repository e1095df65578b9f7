"""The outlet's end: by whom it may be ended, what follows, and that nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from egress.outside import Server, attempt
from events import until, wait_for_end
from faults.runs import Runs
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.errors import ServiceLost
from lxsandbox.outlet import TAP
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs", "egress", "ip")

Make = Callable[..., Sandbox]
CAP_NET_BIND_SERVICE, CAP_SYS_ADMIN = 10, 21  # pasta keeps the latter, since it enters the namespace again; its filter bounds it


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    """Where the runs of this test are; nothing waits to be cleaned up at its end."""
    with tempfile.TemporaryDirectory(prefix="lx-") as folder:
        monkeypatch.setenv("LXSANDBOX_RUNTIME_DIR", folder)
        found = Runs(Path(folder))
        yield found
        found.clean_up()


@pytest.fixture(params=["slirp4netns", pytest.param("pasta", marks=needs("pasta"))])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, runs: Runs) -> Iterator[ServiceConnection]:
    """A service whose outlet is this program."""
    monkeypatch.setenv("LXSANDBOX_OUTLET", request.param)
    made = ServiceConnection.open()
    yield made
    with suppress(ServiceLost):
        made.leave()


def children(pid: int) -> dict[int, list[bytes]]:
    """The processes that a process has started, and their command lines."""
    found = {}
    for each in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[1]) == pid and fields[0] != b"Z":
                found[int(each)] = Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0")
    return found


def outlets(connection: ServiceConnection) -> list[int]:
    return [pid for pid, command in children(connection.hello.pid).items() if TAP.encode() in command]


def hub(connection: ServiceConnection) -> int:
    (found,) = [pid for pid, command in children(connection.hello.pid).items() if b"lxsandbox.hub" in command]
    return found


def network_of_the_host() -> str:
    """All that sandboxes must not change: links, addresses, routes, rules."""
    shown = [("-o", "link"), ("-o", "addr"), ("route",), ("-6", "route"), ("rule",)]
    return "".join(subprocess.run(["ip", *each], capture_output=True, text=True, check=True).stdout for each in shown)


def test_there_is_none_until_a_sandbox_asks_and_one_for_all(run: ServiceConnection) -> None:
    with Sandbox(connection=run):
        assert outlets(run) == []
        with Sandbox(connection=run, egress=True), Sandbox(connection=run, egress=True):
            assert len(outlets(run)) == 1


def test_who_reads_the_packets_of_sandboxes_has_next_to_no_rights(run: ServiceConnection) -> None:
    with Sandbox(connection=run, egress=True):
        (outlet,) = outlets(run)
        # Confined when it starts to work, which is a moment after it has made its tap.
        until(lambda: _status(outlet)["Seccomp"] == "2", "its filter of system calls")
        status = _status(outlet)

    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) & ~(1 << CAP_NET_BIND_SERVICE | 1 << CAP_SYS_ADMIN) == 0


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_ends_with_the_run(run: ServiceConnection, server: Server, host: str) -> None:
    before = network_of_the_host()
    with Sandbox(connection=run, egress=True) as box:
        assert attempt(box, host, server.port)[0] == "HELLO"
        assert network_of_the_host() == before
        (outlet,) = outlets(run)

    run.leave()

    wait_for_end(outlet)
    assert network_of_the_host() == before


def test_it_does_not_outlive_a_service_that_is_killed(run: ServiceConnection) -> None:
    box = Sandbox(connection=run, egress=True)
    (outlet,) = outlets(run)

    os.kill(run.hello.pid, signal.SIGKILL)

    wait_for_end(outlet)
    box.close()


def test_it_does_not_outlive_the_hub_and_there_is_another_of_both(run: ServiceConnection, server: Server, host: str) -> None:
    with Sandbox(connection=run, egress=True):
        (outlet,) = outlets(run)
        os.kill(hub(run), signal.SIGKILL)
        wait_for_end(outlet)

        with Sandbox(connection=run, egress=True) as box:
            assert attempt(box, host, server.port)[0] == "HELLO"


def test_one_that_is_killed_is_started_again_for_the_next_sandbox(run: ServiceConnection, server: Server, host: str) -> None:
    with Sandbox(connection=run, egress=True) as box:
        (outlet,) = outlets(run)
        os.kill(outlet, signal.SIGKILL)
        wait_for_end(outlet)

        with Sandbox(connection=run, egress=True) as another:
            assert attempt(another, host, server.port)[0] == "HELLO"
        assert attempt(box, host, server.port)[0] == "HELLO"


def test_without_it_what_leaves_is_refused_at_once(run: ServiceConnection, server: Server, host: str) -> None:
    with Sandbox(connection=run, egress=True) as box:
        (outlet,) = outlets(run)
        os.kill(outlet, signal.SIGKILL)
        wait_for_end(outlet)
        until(lambda: not outlets(run), "the end of the outlet")

        said, seconds = attempt(box, host, server.port)

    assert said == "HELLO" or "unreachable" in said or "refused" in said
    assert seconds < 5


def test_a_sandbox_that_ends_gives_its_way_out_back(make_sandbox: Make, server: Server, host: str) -> None:
    addresses = set()
    for _ in range(3):
        box = make_sandbox(egress=True)
        addresses.add(box.check_output(["hostname", "-I"]).split()[0])
        assert attempt(box, host, server.port)[0] == "HELLO"
        box.close()

    assert len(addresses) == 3  # what somebody out there remembers of one is not sent to the next
