"""An address of this host where datagrams are taken in: a socket inside for each that sends some, and answers go back to it.

As UDP is: what cannot be passed on now is dropped.
"""

import errno
import socket
import time

from lxsandbox.forwarder.connecting import LOOPBACKS, own_addresses
from lxsandbox.forwarder.inside import Inside
from lxsandbox.forwarder.loop import IN, Loop

__all__ = ["Datagrams"]

_PEERS_AT_MOST = 512
_HELD_AT_MOST = 16  # datagrams of one peer that wait for its socket
_AT_ONCE = 64
_LARGEST = 65535
_DONTWAIT = int(socket.MSG_DONTWAIT)
_DATAGRAM = int(socket.SOCK_DGRAM)


class Datagrams:
    """For one UDP port of a sandbox. A peer that has been silent for `idle_seconds` is forgotten, and so are too many."""

    def __init__(self, loop: Loop, sock: socket.socket, *, port: int, idle_seconds: float) -> None:
        self.loop = loop
        self.sock = sock
        self.port = port
        self._idle_seconds = idle_seconds
        self._inside: Inside | None = None
        self._peers: dict[tuple[str, int], _Peer] = {}  # the one longest silent first
        self._sweeping = False
        loop.add(sock.fileno(), IN, self._come)

    def serve(self, inside: Inside | None) -> None:
        """Pass what comes to this sandbox from now on."""
        self._inside = inside
        if inside is not None:
            inside.stock_up(LOOPBACKS[0][0], _DATAGRAM)

    def close(self) -> None:
        for peer in list(self._peers.values()):
            peer.reset()
        self.loop.close(self.sock)

    def heard(self, peer: "_Peer") -> None:
        """It is not silent."""
        peer.heard = time.monotonic()
        if self._peers.pop(peer.address, None) is not None:
            self._peers[peer.address] = peer

    def forget(self, peer: "_Peer") -> None:
        self._peers.pop(peer.address, None)

    def _come(self, _: int) -> None:
        for _turn in range(_AT_ONCE):
            try:
                data, address = self.sock.recvfrom(_LARGEST, _DONTWAIT)
            except OSError:
                return
            peer = self._peers.get(address) or self._welcome(address)
            if peer is not None:
                self.heard(peer)
                peer.say(data)

    def _welcome(self, address: tuple[str, int]) -> "_Peer | None":
        if self._inside is None or self._inside.busy:
            return None
        if len(self._peers) >= _PEERS_AT_MOST:
            next(iter(self._peers.values())).reset()
        peer = self._peers[address] = _Peer(self, self._inside, address)
        peer.begin()
        if not self._sweeping:
            self._sweeping = True
            self.loop.later(self._idle_seconds, self._sweep)
        return peer

    def _sweep(self) -> None:
        oldest = time.monotonic() - self._idle_seconds
        for peer in list(self._peers.values()):
            if peer.heard > oldest:
                break
            peer.reset()
        self._sweeping = bool(self._peers)
        if self._sweeping:
            self.loop.later(self._idle_seconds / 2, self._sweep)


class _Peer:
    """One address outside, and its socket inside once there is one."""

    def __init__(self, door: Datagrams, inside: Inside, address: tuple[str, int]) -> None:
        self.address = address
        self.heard = time.monotonic()
        self._door = door
        self._inside = inside
        self._sock: socket.socket | None = None
        self._held: list[bytes] = []
        self._places = list(LOOPBACKS)
        self._more = True
        self._gone = False

    def begin(self) -> None:
        self._inside.dependents.add(self)
        self._inside.take(self._places[0][0], _DATAGRAM, self._got)

    def say(self, data: bytes) -> None:
        """Pass a datagram in, once there is a socket for it."""
        if self._sock is not None:
            self._send(self._sock, data)
        elif len(self._held) < _HELD_AT_MOST:
            self._held.append(data)

    def _got(self, sock: "socket.socket | None") -> None:
        if sock is None or self._gone:
            if sock is not None:
                sock.close()
            self.reset()
            return
        self._sock = sock
        refused = sock.connect_ex((self._places[0][1], self._door.port))
        self._door.loop.add(sock.fileno(), IN, self._answered)
        if refused:
            self._elsewhere(sock)
            return
        held, self._held = self._held, []
        for number, data in enumerate(held):
            if not self._send(sock, data):
                self._held += held[number + 1 :]
                return

    def _send(self, sock: socket.socket, data: bytes) -> bool:
        """False where nobody has this port at the address that was tried, and another is tried."""
        try:
            sock.send(data, _DONTWAIT)
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:  # else of the one before, see udp(7): this has not been sent
                return True
        # Over loopback a refusal is there already.
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED and (self._more or len(self._places) > 1):
            self._held.append(data)
            self._elsewhere(sock)
            return False
        return True

    def _elsewhere(self, sock: socket.socket) -> None:
        refused = self._places.pop(0)
        if not self._places and self._more:
            self._more = False
            self._places = [(int(socket.AF_INET), text) for text in own_addresses(sock)]
        self._door.loop.close(sock)
        self._sock = None
        if self._places:
            self._inside.take(self._places[0][0], _DATAGRAM, self._got)
        else:
            self._places = [refused]
            self.reset()  # the next datagram begins anew: somebody may have the port by then

    def _answered(self, _: int) -> None:
        sock = self._sock
        for _turn in range(_AT_ONCE):
            if sock is None:
                return
            try:
                data = sock.recv(_LARGEST, _DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                continue  # a refusal of something sent; it is told once
            self._door.heard(self)
            try:
                self._door.sock.sendto(data, _DONTWAIT, self.address)
            except OSError:
                pass

    def reset(self) -> None:
        """Forget it, and close its socket."""
        self._gone = True
        self._held.clear()
        self._inside.dependents.discard(self)
        self._door.forget(self)
        if self._sock is not None:
            self._door.loop.close(self._sock)
            self._sock = None
