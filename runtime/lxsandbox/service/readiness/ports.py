"""`Port`: something listens."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from lxsandbox.conditions import Port
from lxsandbox.service.readiness.listeners import NETLINK_SOCK_DIAG, ports_listened_on

if TYPE_CHECKING:
    from lxsandbox.service.readiness.watch import Sight

__all__ = ["PortWatch"]

_AGAIN_SECONDS = 0.002
_SHARE_SECONDS = 0.0001
_SHOWN = 10


class PortWatch:
    """Looks through the kernel's list of listeners, by one socket for as long as it is waited."""

    def __init__(self, condition: Port, sight: Sight) -> None:
        self._port = condition.port
        self._sight = sight
        self.seen = "not looked at yet"

    async def come_true(self) -> None:
        diag = await self._sight.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
        with diag, self._sight.pace.turns(_AGAIN_SECONDS, share_seconds=_SHARE_SECONDS) as turns:
            while self._port not in (found := ports_listened_on(diag)):
                self.seen = _told(found)
                await turns.pause()
        self.seen = "something listens"


def _told(found: set[int]) -> str:
    if not found:
        return "nothing listens on any port"
    ports = [str(port) for port in sorted(found)[:_SHOWN]]
    return f"nothing listens on it, only on {', '.join(ports)}{' and more' if len(found) > _SHOWN else ''}"
