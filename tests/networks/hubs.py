"""The hub of a run, found and looked into by what the kernel shows of it."""

from __future__ import annotations

from pathlib import Path

from lxsandbox.sandbox.connection import ServiceConnection

__all__ = ["hub_of", "links_of", "spawner_of"]


def hub_of(connection: ServiceConnection) -> int | None:
    """Its process id; None where there is none."""
    return _child(connection, b"lxsandbox.hub")


def spawner_of(connection: ServiceConnection) -> int | None:
    return _child(connection, b"/spawner/__main__.py")


def _child(connection: ServiceConnection, mark: bytes) -> int | None:
    service, depth = connection.hello.pid, _depth(connection.hello.pid)
    children = Path(f"/proc/{service}/task/{service}/children").read_text().split()
    # A clone of the spawner has its command line, and a pid namespace of its own.
    found = [int(pid) for pid in children if mark in Path(f"/proc/{pid}/cmdline").read_bytes() and _depth(int(pid)) == depth]
    return found[0] if found else None


def _depth(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return len(next(line for line in lines if line.startswith("NSpid:")).split())


def links_of(hub: int) -> set[str]:
    """The links in the hub's network but loopback."""
    lines = Path(f"/proc/{hub}/net/dev").read_text().splitlines()[2:]
    return {line.partition(":")[0].strip() for line in lines} - {"lo"}
