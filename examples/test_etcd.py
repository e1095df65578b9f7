"""etcd with three nodes, each a sandbox: the leader is cut off, the others go on without it, and it catches up."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from lxsandbox import Command, Network, Sandbox

pytestmark = pytest.mark.programs("etcd", "etcdctl")

NAMES = ("etcd-0", "etcd-1", "etcd-2")
CLUSTER = ",".join(f"{name}=http://{name}:2380" for name in NAMES)
API = {"ETCDCTL_API": "3"}
HEALTHY = Command(["etcdctl", "endpoint", "health"], env=API)


def start_command(name: str) -> list[str]:
    return [
        *("etcd", "--name", name, "--data-dir", "/tmp/etcd", "--initial-cluster", CLUSTER),
        *("--listen-peer-urls", "http://0.0.0.0:2380", "--initial-advertise-peer-urls", f"http://{name}:2380"),
        *("--listen-client-urls", "http://0.0.0.0:2379", "--advertise-client-urls", f"http://{name}:2379"),
        *("--heartbeat-interval", "50", "--election-timeout", "500"),
    ]


@pytest.fixture
def nodes(make_sandbox: Callable[..., Sandbox], sandbox_network: Network) -> list[Sandbox]:
    """Three nodes that have elected a leader."""
    nodes = [make_sandbox(name=name, networks=[sandbox_network], command=start_command(name)) for name in NAMES]
    for node in nodes:
        node.wait_until(HEALTHY)
    return nodes


def etcdctl(node: Sandbox, *args: str) -> str:
    return node.check_output(["etcdctl", *args], env=API)


def leads(node: Sandbox) -> bool:
    status = json.loads(etcdctl(node, "endpoint", "status", "--write-out", "json"))[0]["Status"]
    return bool(status["leader"] == status["header"]["member_id"])


def test_the_others_go_on_without_a_leader_that_is_cut_off(nodes: list[Sandbox], sandbox_network: Network) -> None:
    old = next(node for node in nodes if leads(node))
    others = [node for node in nodes if node is not old]
    etcdctl(old, "put", "order", "a book")

    with sandbox_network.isolate(old):
        others[0].wait_until(HEALTHY)  # which it is only with a leader
        etcdctl(others[0], "put", "order", "two books")
        assert any(leads(node) for node in others)
        assert old.run(["etcdctl", "--command-timeout", "1s", "get", "order"], env=API).returncode != 0

    old.wait_until(HEALTHY)
    assert etcdctl(old, "get", "order", "--print-value-only") == "two books\n"
