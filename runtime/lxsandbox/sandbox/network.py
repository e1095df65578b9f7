"""The `Network` that users hold: sandboxes join it with `networks=[…]`, and it ends when it is closed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from lxsandbox.errors import ServiceLost
from lxsandbox.membership import check_network_name
from lxsandbox.sandbox.connection import ServiceConnection, default_connection, release_default_connection
from lxsandbox.sandbox.faults import FaultInjection

__all__ = ["Addresses", "Network"]

Addresses = tuple[str, str | None]
"""IPv4 and IPv6; the second is None where the kernel, or the sandbox, has no IPv6."""


class Network(FaultInjection):
    """A private network between sandboxes; a context manager that closes it.

    Who is in it reaches the others by name and address; who is not cannot. `Sandbox(networks=[network])` joins it, and so does
    `networks=["backend"]` where it was made as `Network("backend")`; without a name it is given one.

    `name`: text. `subnets`: its IPv4 and its IPv6 network. Raises SandboxError where there is one of this name already, or no
    more can be made, and HostUnsupported where the kernel lacks what it is made of.
    """

    def __init__(self, name: str | None = None, *, connection: ServiceConnection | None = None) -> None:
        if name is not None:
            check_network_name(name)
        self._shares_default = connection is None
        self._connection = default_connection() if connection is None else connection
        try:
            answer = self._connection.request("network_open", name=name)
        except BaseException:
            if self._shares_default:
                release_default_connection(self._connection)
            raise
        self.name = str(answer["network"])
        ipv4, ipv6 = answer["subnets"]
        self.subnets: tuple[str, str] = (ipv4, ipv6)
        self._owner_pid = os.getpid()
        self._closed = False

    @property
    def members(self) -> Mapping[str, Addresses]:
        """The addresses of the sandboxes that are in it now, by name."""
        answer = self._request("network_members")
        return {name: addresses_from_wire(each) for name, each in answer["members"].items() if each is not None}

    def _request(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask the service about this network."""
        return self._connection.request(op, network=self.name, **fields)

    def close(self) -> None:
        """End it: its members go on, and lose their interface to it. May be called twice."""
        if self._closed or self._owner_pid != os.getpid():
            return
        self._closed = True
        try:
            with suppress(ServiceLost):  # then it has ended already
                self._request("network_close")
        finally:
            if self._shares_default:
                release_default_connection(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Network {self.name}, {self.subnets[0]} and {self.subnets[1]}{', closed' if self._closed else ''}>"


def addresses_from_wire(pair: Any) -> Addresses:
    """A pair of addresses as the service sends it."""
    ipv4, ipv6 = pair
    return str(ipv4), None if ipv6 is None else str(ipv6)
