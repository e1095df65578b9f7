"""What is left of networks when something ends: a sandbox, a client, the hub, the spawner, the service."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest
from events import until, wait_for_end
from needs import needs
from networks.conftest import Make, Open
from networks.hubs import hub_of, links_of, spawner_of
from networks.talk import ask, interfaces, listen, look_up

from lxsandbox import HostUnsupported, Network, Sandbox, SandboxError
from lxsandbox.sandbox.connection import ServiceConnection

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp", "veth", "bridge")

CROWD = 300


def test_there_is_no_hub_until_a_network_is_asked_for(connection: ServiceConnection, make: Make, open_network: Open) -> None:
    make()
    assert hub_of(connection) is None

    network = open_network()

    hub = hub_of(connection)
    assert hub is not None
    assert len(links_of(hub)) == 1
    make(networks=[network])
    assert len(links_of(hub)) == 2


def test_the_links_of_what_has_ended_go_also_where_somebody_holds_its_network(
    connection: ServiceConnection, make: Make, network: Network
) -> None:
    hub, boxes = hub_of(connection), [make(networks=[network]) for _ in range(3)]
    assert hub is not None
    listen(boxes[0], 80)
    bridge = links_of(hub)
    with boxes[0].connect(80) as held:
        for box in boxes:
            box.close()

        until(lambda: len(links_of(hub)) == 1, "the links are gone")
        assert isinstance(held, socket.socket)
    network.close()
    until(lambda: not links_of(hub) & bridge, "the bridge is gone")


def test_the_address_of_one_that_has_ended_is_reached_by_nobody(make: Make, network: Network) -> None:
    box, client = make(networks=[network]), make(networks=[network])
    listen(box, 80)
    assert "hello" in ask(client, str(box.ip))
    with box.connect(80):
        box.close()
        assert "hello" not in ask(client, str(box.ip), seconds=0.3)
    assert network.members.keys() == {client.name}


def test_a_hub_that_is_killed_takes_its_networks_and_nothing_else(
    connection: ServiceConnection, make: Make, network: Network
) -> None:
    box = make(networks=[network, "text"], name="box")
    hub = hub_of(connection)
    assert hub is not None
    os.kill(hub, signal.SIGKILL)
    wait_for_end(hub)

    until(lambda: not interfaces(box), "the kernel has taken its links")
    assert box.run(["echo", "alive"]).stdout == "alive\n"
    for use in (lambda: network.members, lambda: make(networks=[network]), lambda: make(networks=["text"]), box.reset):
        with pytest.raises(SandboxError, match=f"network ({network.name}|text) is lost"):
            use()
    with Network(connection=connection) as new:
        one, two = make(networks=[new], name="one"), make(networks=[new])
        assert look_up(two, "one") == set(one.addresses[new.name])
    network.close()


def test_a_network_made_by_its_name_is_made_again_once_its_members_have_gone(connection: ServiceConnection, make: Make) -> None:
    make(networks=["backend"], name="one").close()
    hub = hub_of(connection)
    assert hub is not None
    os.kill(hub, signal.SIGKILL)
    wait_for_end(hub)

    one, two = make(networks=["backend"], name="one"), make(networks=["backend"])

    assert look_up(two, "one") == set(one.addresses["backend"])


def test_a_hub_that_is_killed_while_sandboxes_join_fails_them_by_name(
    connection: ServiceConnection, make: Make, network: Network
) -> None:
    hub = hub_of(connection)
    assert hub is not None
    os.kill(hub, signal.SIGSTOP)
    with ThreadPoolExecutor(3) as threads:
        joining = [threads.submit(make, networks=[network], name=f"b{n}") for n in range(3)]
        os.kill(hub, signal.SIGKILL)

        for each in joining:
            error = each.exception()
            assert isinstance(error, SandboxError)
            assert not isinstance(error, HostUnsupported)


def test_a_service_that_is_killed_takes_the_hub_along(make: Make, network: Network, connection: ServiceConnection) -> None:
    make(networks=[network])
    hub = hub_of(connection)
    assert hub is not None

    os.kill(connection.hello.pid, signal.SIGKILL)

    wait_for_end(hub)


def test_networks_outlive_a_spawner(connection: ServiceConnection, make: Make, network: Network) -> None:
    before = make(networks=[network], name="before")
    spawner = spawner_of(connection)
    assert spawner is not None
    os.kill(spawner, signal.SIGKILL)
    wait_for_end(spawner)

    # More than there may be blank ones ready, which the old one has made.
    after = [make(networks=[network], name=f"after{n}") for n in range(6)]

    listen(after[-1], 80)
    assert spawner_of(connection) not in (None, spawner)
    assert "hello" in ask(before, "after5")
    assert "hello" in ask(after[0], "after5")


def test_a_client_takes_its_networks_along_and_no_others(connection: ServiceConnection, make: Make) -> None:
    ours = make(networks=["backend"], name="db")
    other = ServiceConnection.open(connection.folder, start=False)
    with Sandbox(connection=other, networks=["backend"], name="db") as theirs:
        assert theirs.ip != ours.ip
        assert look_up(theirs, "db") == set(theirs.addresses["backend"])
    hub = hub_of(connection)
    assert hub is not None
    assert len(links_of(hub)) >= 3

    other.leave()

    until(lambda: len(links_of(hub)) == 2, "one bridge and one link are left")
    assert look_up(ours, "db") == set(ours.addresses["backend"])


def test_ps_shows_networks_and_addresses(connection: ServiceConnection, make: Make, open_network: Open) -> None:
    network = open_network("backend")
    box, lone = make(networks=[network]), make()

    listed = {each["id"]: each["networks"] for each in connection.request("list")["sandboxes"]}

    assert listed == {box.id: {"backend": list(box.addresses["backend"])}, lone.id: {}}
    network.close()
    assert all(each["networks"] == {} for each in connection.request("list")["sandboxes"])


def test_nothing_of_the_host_changes(make: Make, network: Network) -> None:
    before = _of_the_host()
    boxes = [make(networks=[network, "other"]) for _ in range(3)]
    assert all(box.ip for box in boxes)

    during = _of_the_host()

    assert during == before


def _of_the_host() -> dict[str, str]:
    files = {name: Path("/proc/net", name).read_text() for name in ("route", "fib_trie", "ipv6_route", "if_inet6")}
    files["ipv6_route"] = "\n".join(sorted(line.split(" ")[0] for line in files["ipv6_route"].splitlines()))
    files["links"] = " ".join(sorted(os.listdir("/sys/class/net")))
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")
    if nft and os.geteuid() == 0:
        files["rules"] = subprocess.run(
            [nft, "--stateless", "list", "ruleset"], capture_output=True, text=True, check=True
        ).stdout
    return files


@pytest.mark.slow
def test_three_hundred_members_of_one_network(make: Make, network: Network, connection: ServiceConnection) -> None:
    started = monotonic()
    with ThreadPoolExecutor(4) as threads:
        boxes = list(threads.map(lambda n: make(networks=[network], name=f"b{n}", aliases=["all"], disk="1M"), range(CROWD)))
    hub = hub_of(connection)
    assert hub is not None

    assert len(network.members) == CROWD
    assert look_up(boxes[0], f"b{CROWD - 1}") == set(boxes[-1].addresses[network.name])
    listen(boxes[-1], 80)
    assert "hello" in ask(boxes[0], f"b{CROWD - 1}")
    assert len(links_of(hub)) == CROWD + 1
    assert _resident_mib(hub) < 40
    assert monotonic() - started < 60


def _resident_mib(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
