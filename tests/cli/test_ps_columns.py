"""What `lxsandbox ps` makes of the facts that a service gives of a sandbox."""

from __future__ import annotations

from typing import Any

import pytest

from lxsandbox.cli.ps import _COLUMNS, _row

FACTS = {"id": "lxs-1", "name": "db", "image": "host", "state": "running", "pid": 7, "owner": "gw0", "created": 0.0}


def cell(column: str, **facts: Any) -> str:
    return dict(zip(_COLUMNS, _row({**FACTS, **facts}, "run-1"), strict=True))[column]


@pytest.mark.parametrize(
    ("ports", "shown"),
    [
        (None, "-"),
        ({}, "-"),
        ({"80/tcp": 8080}, "127.0.0.1:8080->80/tcp"),
        ({"53/udp": 5353, "/run/db.sock": 6000}, "127.0.0.1:5353->53/udp, 127.0.0.1:6000->/run/db.sock"),
    ],
)
def test_ports_are_written_as_container_tools_do(ports: Any, shown: str) -> None:
    assert cell("PORTS", ports=ports) == shown


@pytest.mark.parametrize(
    ("networks", "shown"),
    [
        (None, "-"),
        ({}, "-"),
        ({"backend": ["10.192.0.2", None]}, "backend=10.192.0.2"),
        ({"a": ["10.192.0.2"], "b": ["10.192.4.2"]}, "a=10.192.0.2, b=10.192.4.2"),
        ({"joining": []}, "joining="),
    ],
)
def test_a_network_is_shown_with_the_first_address_on_it(networks: Any, shown: str) -> None:
    assert cell("NETWORKS", networks=networks) == shown


@pytest.mark.parametrize(("restarts", "shown"), [(0, "running"), (1, "running (1 restart)"), (12, "running (12 restarts)")])
def test_the_state_says_how_often_it_was_restarted(restarts: int, shown: str) -> None:
    assert cell("STATE", restarts=restarts) == shown
