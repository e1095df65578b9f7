"""The run under measurement: its service, sandboxes of a shape seen or never seen, and the wait until nothing works behind."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

from lxsandbox.defaults import with_defaults
from lxsandbox.sandbox.connection import ServiceConnection
from lxsandbox.sandbox.sandbox import Sandbox
from lxsandbox.spec import SandboxSpec

__all__ = ["Lab"]

_AHEAD = 2  # as many as the service itself keeps of a shape in use


class Lab:
    """One connection to one service. `pool_hits` and `misses` say where its usual sandboxes came from."""

    def __init__(self) -> None:
        self.connection = ServiceConnection.open(label="bench")
        self.pool_hits = 0
        self.misses = 0
        self._usual, self._required = with_defaults(SandboxSpec())
        self._sizes = count(1 << 28, 1 << 16)

    def rest(self, **fields: Any) -> None:
        """Wait until the pool is full, of the usual ones with these fields too, and all that was closed has gone."""
        for spec in [self._usual, *([replace(self._usual, **fields)] if fields else [])]:
            self.connection.request("prewarm", spec=spec.as_json(), required=self._required, count=_AHEAD, wait=True)
        self.connection.request("settle")

    @contextmanager
    def at_rest(self, **fields: Any) -> Generator[None]:
        """Rest before, and after for whoever is next."""
        self.rest(**fields)
        try:
            yield
        finally:
            self.rest(**fields)

    def usual(self, **fields: Any) -> Sandbox:
        """A sandbox as the `sandbox` fixture makes it: of a shape that was seen before."""
        spec = replace(self._usual, **fields)
        box = Sandbox.from_spec(spec, required=self._required, connection=self.connection)
        if box.pooled:
            self.pool_hits += 1
        else:
            self.misses += 1
        return box

    def novel(self) -> Sandbox:
        """A sandbox of a shape never seen: its disk has a size that no other has, so that none can be ready."""
        return Sandbox(connection=self.connection, disk=next(self._sizes))

    def close(self) -> None:
        """Leave the service, which ends. Raises RuntimeError when something was left behind: then no figure counts."""
        leaked = self.connection.leave()
        if any(leaked.values()):
            raise RuntimeError(f"the run has left something behind: {leaked}")
