"""The addresses of networks between sandboxes, and which of them are free. Pure.

10.192.0.0/10 (RFC 1918) is cut into networks of 1,024 addresses; the IPv6 prefix is a unique local one (RFC 4193). All of it
lies in the run's own hub: other runs, and the host, may use the same.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

__all__ = ["HOSTS", "NETWORKS", "Free", "Subnet"]

NETWORKS = 4094  # of 10.192.0.0/10, with 22 bits each; the last two are the links and the outlet of egress
_FIRST_IPV4 = 0x0AC00000
_SIZE = 1024
_HUB = 1
HOSTS = range(2, _SIZE - 1)  # without the network's own address, the hub's and the one for broadcasts


@dataclass(frozen=True, slots=True)
class Subnet:
    """The addresses of the network `number`."""

    number: int

    def ipv4(self, host: int) -> str:
        return socket.inet_ntoa(struct.pack("!I", _FIRST_IPV4 + self.number * _SIZE + host))

    def ipv6(self, host: int) -> str:
        return f"fd6c:7873:{self.number:x}::{host:x}" if self.number else f"fd6c:7873::{host:x}"

    def mac(self, host: int) -> str:
        """Made of the IPv4 address: what neighbours remember of an address is true of whoever has it next."""
        return "02:6c:" + socket.inet_aton(self.ipv4(host)).hex(":")

    @property
    def hub(self) -> dict[str, str]:
        """The addresses that are kept for the hub."""
        return {"ipv4": self.ipv4(_HUB), "ipv6": self.ipv6(_HUB), "mac": self.mac(_HUB)}

    def as_text(self) -> tuple[str, str]:
        """As `ip route` writes it, IPv4 and IPv6."""
        return f"{self.ipv4(0)}/22", f"fd6c:7873:{self.number:x}::/64" if self.number else "fd6c:7873::/64"


class Free:
    """Which numbers of a range are free. One that was given back comes last: somebody may still talk to who had it."""

    def __init__(self, numbers: range) -> None:
        self._numbers = numbers
        self._taken: set[int] = set()
        self._next = 0

    def take(self) -> int | None:
        """A number that is free, None where there is none."""
        count = len(self._numbers)
        for step in range(count):
            number = self._numbers[(self._next + step) % count]
            if number not in self._taken:
                self._next = (self._next + step + 1) % count
                self._taken.add(number)
                return number
        return None

    def give_back(self, number: int) -> None:
        self._taken.discard(number)
