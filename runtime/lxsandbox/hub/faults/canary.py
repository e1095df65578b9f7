"""Canaries: frames that the hub sends from and to the network namespaces of members, and looks whether they arrive.

They are frames of an ethertype that nobody else speaks, sent and read by packet(7) sockets that the hub opens in there: no
process of a member has a part in it, so a paused one will do, nor have its routes, addresses and firewall.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Self

from lxsandbox.hub.faults.cut import CANARY, canary_bytes
from lxsandbox.hub.members import Port, inside

__all__ = ["Canaries", "Station", "Unproven"]

_SOL_PACKET, _QDISC_BYPASS = 263, 20  # packet(7)
_SMALL_BYTES = 60  # what Ethernet fills up to
_SECONDS = 2.0  # the kernel is through with a frame in microseconds, on a machine that is not overrun
_LOOK_AGAIN_MILLISECONDS = 1


class Unproven(Exception):
    """What the canaries of a fault say is not what the fault should do."""


class Station:
    """Where canaries start and arrive: a member's end of its link, or the bridge itself."""

    def __init__(self, sock: socket.socket, mac: bytes) -> None:
        self.socket = sock
        self.mac = mac or sock.getsockname()[4]
        self.arrived: set[tuple[bytes, bytes]] = set()  # the sender's MAC, and the canary's mark
        self.order: list[bytes] = []  # marks
        self.doubled = False
        self.damaged = False

    def forget(self) -> None:
        """What has arrived so far; signs of damage and doubling stay."""
        self.arrived.clear()
        self.order.clear()

    def read(self, fault: int) -> None:
        """Note what has arrived of this fault's."""
        while True:
            try:
                frame = self.socket.recv(1 << 16)
            except BlockingIOError:
                return
            if frame[14:18] == canary_bytes(fault):
                self._note(frame)

    def _note(self, frame: bytes) -> None:
        mark = frame[18:22]
        if mark != frame[22:26] or any(frame[26:]):
            self.damaged = True
            return
        self.doubled = self.doubled or mark in self.order
        self.order.append(mark)
        self.arrived.add((frame[6:12], mark))


class Canaries:
    """The stations of one proof. All that it opened in members' namespaces is closed with it: it would keep them alive."""

    def __init__(self, home: int, fault: int) -> None:
        self.fault = fault
        self._home = home
        self._stations: dict[str, Station] = {}
        self._undo = ExitStack()
        self._sent = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # To close one takes the kernel a grace period of RCU, 10 to 20 ms: not while somebody waits for the hub.
        threading.Thread(target=self._undo.close, daemon=True).start()

    def at(self, port: Port, *, queued: bool = False) -> Station:
        """The station at the member's end of `port`. Raises OSError, say where its namespace has ended.

        Its canaries go past the queue of the link, which may be full of what waits for its turn; unless `queued`.
        """
        name = f"{port.name} queued" if queued else port.name
        if name not in self._stations:
            mac = bytes.fromhex(port.mac.replace(":", ""))
            sock = inside(self._home, port.member.netns, lambda: self._open(port.interface, queued=queued))
            self._stations[name] = Station(sock, mac)
        return self._stations[name]

    def at_bridge(self, bridge: str) -> Station:
        """The station of the hub itself."""
        if bridge not in self._stations:
            self._stations[bridge] = Station(self._open(bridge, queued=False), b"")
        return self._stations[bridge]

    def _open(self, link: str, *, queued: bool) -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._undo.callback(sock.close)
        sock.bind((link, CANARY))
        sock.setblocking(False)
        if not queued:
            sock.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
        return sock

    def send(self, start: Station, to: bytes, *, size: int = _SMALL_BYTES, fault: int | None = None) -> bytes:
        """One frame to a MAC; what it can be told by where it arrives.

        A frame that the kernel has no room for is lost, as it would be a member's.
        """
        self._sent += 1
        mark = struct.pack("!I", self._sent)
        frame = to + start.mac + struct.pack("!H", CANARY) + canary_bytes(self.fault if fault is None else fault) + mark + mark
        try:
            start.socket.send(frame.ljust(size, b"\0"))
        except OSError as error:
            if error.errno not in (errno.ENOBUFS, errno.EAGAIN):
                raise
        return mark

    def introduce(self) -> None:
        """Have the bridges learn where each station is, so that what is sent to it goes to nobody else."""
        for station in list(self._stations.values()):
            self.send(station, station.mac, fault=0)

    def read(self) -> None:
        for station in self._stations.values():
            station.read(self.fault)

    def wait_for(self, happened: Callable[[], bool], *, seconds: float = _SECONDS) -> bool:
        """Look again whenever something arrives, and each millisecond, until it `happened`; False when the time is over."""
        return any(self._looks(happened, seconds))

    def _looks(self, happened: Callable[[], bool], seconds: float) -> Iterator[bool]:
        poll = select.poll()
        for station in self._stations.values():
            poll.register(station.socket, select.POLLIN)
        until = time.monotonic() + seconds
        while True:
            self.read()
            if happened():
                yield True
                return
            if time.monotonic() > until:
                return
            # No event tells of a packet that was dropped: its counter is looked at.
            poll.poll(_LOOK_AGAIN_MILLISECONDS)
            yield False
