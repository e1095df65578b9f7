"""Redis with a leader, two replicas and three Sentinels, each node a sandbox: the leader is cut off, and a replica takes over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis

from lxsandbox import Command, Network, Port, Sandbox

pytestmark = pytest.mark.programs("redis-server")

REDIS, SENTINEL = 6379, 26379
# A replica that is cut off, or a leader that has lost its replicas, shall be noticed in a second and not in a minute.
SERVER = [
    *("redis-server", "--port", str(REDIS), "--dir", "/tmp", "--save", "", "--protected-mode", "no"),
    *("--repl-diskless-sync-delay", "0", "--repl-timeout", "2", "--repl-ping-replica-period", "1"),
    *("--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"),
]
WATCHMAN = f"""
port {SENTINEL}
protected-mode no
sentinel resolve-hostnames yes
sentinel monitor shop redis-0 {REDIS} 2
sentinel down-after-milliseconds shop 500
sentinel failover-timeout shop 3000
"""
# Each Sentinel knows the two others, and both replicas.
COMPLETE = f"""
redis-cli -p {SENTINEL} sentinel ckquorum shop | grep -q '^OK 3 ' &&
test "$(redis-cli -p {SENTINEL} sentinel replicas shop | grep -cx master-link-status)" = 2
"""
JOINED = f"redis-cli -p {REDIS} info replication | grep -q '^master_link_status:up'"
REFUSING = f"redis-cli -p {REDIS} set order 'for nobody to see' | grep -q ^NOREPLICAS"
WRITABLE = f"redis-cli -p {REDIS} set probe 1 | grep -qx OK"


@pytest.fixture
def nodes(make_sandbox: Callable[..., Sandbox], sandbox_network: Network) -> list[Sandbox]:
    """Three nodes, of which the first leads."""
    nodes = []
    for number in range(3):
        role = ["--replicaof", "redis-0", str(REDIS)] if number else []
        ready = shell(JOINED) if number else Port(REDIS)
        nodes.append(make_sandbox(name=f"redis-{number}", networks=[sandbox_network], command=[*SERVER, *role], ready=ready))
    for node in nodes:
        node.path("/tmp/sentinel.conf").write_text(WATCHMAN)
        node.run(["redis-server", "/tmp/sentinel.conf", "--sentinel", "--daemonize", "yes"], check=True)
    for node in nodes:
        node.wait_until(shell(COMPLETE))
    return nodes


def shell(script: str) -> Command:
    return Command(["sh", "-c", script])


def client(node: Sandbox) -> redis.Redis:
    """A client in the test itself."""
    host, port = node.address(REDIS)
    return redis.Redis(host, port, decode_responses=True, socket_timeout=10)


@contextmanager
def announcements(node: Sandbox) -> Iterator[Callable[[], str]]:
    """Gives a function that waits until this node's Sentinel announces another leader, and returns that one's address."""
    host, port = node.address(SENTINEL)
    with redis.Redis(host, port, decode_responses=True) as sentinel, sentinel.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe("+switch-master")
        channel.get_message(timeout=10)  # the answer to the subscription

        def leader() -> str:
            message = channel.get_message(timeout=30)
            assert message is not None, "no other leader was announced"
            _, _, _, address, _ = message["data"].split()
            return str(address)

        yield leader


def test_a_replica_takes_over_from_a_leader_that_is_cut_off(nodes: list[Sandbox], sandbox_network: Network) -> None:
    old, *others = nodes
    with client(old) as leader:
        leader.set("order", "a book")

    with announcements(others[0]) as next_leader, sandbox_network.partition([old], others):
        address = next_leader()
        new = next(node for node in others if address in node.addresses[sandbox_network.name])
        new.wait_until(shell(WRITABLE))
        with client(new) as leader:
            assert leader.get("order") == "a book"
            leader.set("order", "two books")
        old.wait_until(shell(REFUSING))

    old.wait_until(shell(JOINED))
    with client(old) as replica:
        assert replica.role()[0] == "slave"
        assert replica.get("order") == "two books"
