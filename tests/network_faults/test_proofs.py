"""A fault that does not do what it should is no fault: canaries find out, and it is taken back."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from events import until
from needs import needs
from network_faults.talking import Members, sends, udp

from lxsandbox import Network, Sandbox, SandboxError
from lxsandbox.sandbox.faults import Fault

pytestmark = needs("root", "nft", "nsenter")

# Frames of a port go straight to another one, and not by way of the bridge and its rules.
ANOTHER_WAY = """
add table netdev way_{0}
add chain netdev way_{0} ingress {{ type filter hook ingress device "{0}" priority 0; }}
add rule netdev way_{0} ingress fwd to "{1}"
"""
IN_THE_WAY = """
add table bridge way_{0}
add chain bridge way_{0} forward {{ type filter hook forward priority 10; }}
add rule bridge way_{0} forward iifname "{0}" drop
"""


class Hub:
    """The hub of a run, where root can put rules that are not ours."""

    def __init__(self, members: Members) -> None:
        service = members.connection.hello.pid
        children = Path(f"/proc/{service}/task/{service}/children").read_text().split()
        self._pid = next(pid for pid in children if b"lxsandbox.hub" in Path(f"/proc/{pid}/cmdline").read_bytes())

    def rules(self, text: str) -> None:
        self._run("nft", "-f", "-", given=text)

    def all_rules(self) -> str:
        return self._run("nft", "list", "ruleset")

    def port_of(self, mac: str) -> str:
        """The port behind which a MAC was seen."""
        lines = self._run("bridge", "fdb", "show").splitlines()
        return next(line.split()[2] for line in lines if line.startswith(mac) and "permanent" not in line)

    def _run(self, *command: str, given: str | None = None) -> str:
        prefix = ["nsenter", f"--net=/proc/{self._pid}/ns/net"]
        return subprocess.run([*prefix, *command], input=given, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def hub(members: Members) -> Hub:
    members.network.partition(members.a, [members.b, members.c]).heal()  # the hub runs, and its bridge has seen all three
    return Hub(members)


def _port(hub: Hub, members: Members, name: str) -> str:
    box = {"a": members.a, "b": members.b}[name]
    return hub.port_of(box.path("/sys/class/net/eth0/address").read_text().strip())


FAULTS: dict[str, Callable[[Network, Sandbox, Sandbox], Fault]] = {
    "partition": lambda network, a, b: network.partition(a, b),
    "isolate": lambda network, a, _: network.isolate(a),
    "loss": lambda network, a, b: network.shape(a, peer=b, loss=0.9),
}


@needs("nft-fwd")
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_with_another_way_round_it_is_refused_and_not_there(members: Members, hub: Hub, kind: str) -> None:
    a, b, network = members.a, members.b, members.network
    port = _port(hub, members, "a")
    with network.isolate(a):
        until(lambda: port.encode().hex() in hub.all_rules(), "its rules are there")  # nft may miss some while others change them
    hub.rules(ANOTHER_WAY.format(port, _port(hub, members, "b")))
    try:
        with pytest.raises(SandboxError, match="does not do what it should"):
            FAULTS[kind](network, a, b)
        assert network.fault_counts() == []
        assert port.encode().hex() not in hub.all_rules()
    finally:
        hub.rules(f"delete table netdev way_{port}")


def test_a_line_that_is_not_whole_after_it_was_healed_is_said_so(members: Members, hub: Hub) -> None:
    a, b, network = members.a, members.b, members.network
    fault = network.partition(a, b)
    port = _port(hub, members, "a")
    hub.rules(IN_THE_WAY.format(port))
    try:
        with pytest.raises(SandboxError, match="taken back, and 1 of 2 canaries did not arrive"):
            fault.heal()
    finally:
        hub.rules(f"delete table bridge way_{port}")
    with udp(a, b) as (at_a, at_b):
        assert sends(at_a, b, at_b) == 1


def test_the_hosts_own_rules_and_links_stay_as_they_are(members: Members) -> None:
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin") or "nft"

    def state() -> tuple[str, str]:
        tables = subprocess.run([nft, "list", "tables"], capture_output=True, text=True, check=True).stdout
        return tables, Path("/proc/net/dev").read_text().split("\n", 2)[2].partition(":")[0]

    before = state()
    with members.network.isolate(members.a), members.network.shape(members.b, rate="1M"):
        assert state() == before


def test_nothing_of_a_network_is_left_in_the_hub_when_it_is_closed(members: Members, hub: Hub) -> None:
    with Network(connection=members.connection) as other:
        boxes = [Sandbox(connection=members.connection, networks=[other]) for _ in range(2)]
        tables = {f"fault-{fault.number} " for fault in (other.partition(*boxes), other.shape(boxes[0], loss=0.5))}
        until(lambda: all(table in hub.all_rules() for table in tables), "they are there")
    assert not any(table in hub.all_rules() for table in tables)
    for box in boxes:
        box.close()
