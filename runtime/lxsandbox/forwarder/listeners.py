"""An address of this host where streams are taken in, each to be joined to one in a sandbox.

What cannot be served now waits in the backlog: while there is no sandbox, many wait for its init, or descriptors are few.
"""

import resource
import socket

from lxsandbox.forwarder.connecting import LOOPBACKS, Attempts
from lxsandbox.forwarder.inside import Inside
from lxsandbox.forwarder.loop import IN, Loop
from lxsandbox.forwarder.pipes import Pipes
from lxsandbox.forwarder.streams import ABORT, Link

__all__ = ["Listener"]

_BACKLOG = 4096  # what the kernel allows at most, by default (net.core.somaxconn)
_AT_ONCE = 32  # of one event, so that others get their turn
_CROWDED_SECONDS = 0.5
_NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _most_descriptors() -> int:
    """Descriptors have the lowest number that is free: one above this says that only the reserve for init's answers is left."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(soft - max(soft // 4, 128), 64) if soft != resource.RLIM_INFINITY else 1 << 20


class Listener:
    """For one port, or one unix socket, of a sandbox. `inside` is None while there is no sandbox."""

    def __init__(self, loop: Loop, pipes: Pipes, sock: socket.socket, *, port: int, path: str) -> None:
        self._loop = loop
        self._pipes = pipes
        self._sock = sock
        self._port = port
        self._path = path
        self._addresses = LOOPBACKS
        self._inside: Inside | None = None
        self._most = _most_descriptors()
        self._closed = False
        sock.setsockopt(*ABORT)  # those that it takes in inherit it
        sock.setsockopt(*_NODELAY)
        sock.listen(_BACKLOG)
        loop.add(sock.fileno(), 0, self._come)

    def serve(self, inside: Inside | None) -> None:
        """Join what comes to this sandbox from now on."""
        self._inside = inside
        if inside is None:
            self._loop.modify(self._sock.fileno(), 0)
            return
        if not self._path:
            inside.stock_up(LOOPBACKS[0][0], int(socket.SOCK_STREAM))
        self._go_on()

    def close(self) -> None:
        self._closed = True
        self._loop.close(self._sock)

    def _go_on(self) -> None:
        if not self._closed and self._inside is not None:
            self._loop.modify(self._sock.fileno(), IN)

    def _come(self, _: int) -> None:
        for _turn in range(_AT_ONCE):
            inside = self._inside
            if self._closed or inside is None:
                return
            if inside.busy:
                self._loop.modify(self._sock.fileno(), 0)
                inside.when_relieved(self._go_on)
                return
            try:
                client, _address = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # no descriptors or no memory left, see accept(2)
                self._wait_for_room()
                return
            self._join(inside, client)
            if client.fileno() >= self._most:
                self._wait_for_room()
                return

    def _wait_for_room(self) -> None:
        self._loop.modify(self._sock.fileno(), 0)
        self._loop.when_closed(self._go_on)
        self._loop.later(_CROWDED_SECONDS, self._go_on)  # what fills it may be nothing that this loop closes

    def _join(self, inside: Inside, client: socket.socket) -> None:
        client.setblocking(False)

        def connected(sock: socket.socket | None) -> None:
            if sock is None or inside.closed:
                client.close()
            else:
                sock.setsockopt(*ABORT)
                link = Link(self._loop, self._pipes, client, sock, inside.dependents.discard)
                inside.dependents.add(link)

        def taken(sock: socket.socket | None, address: tuple[int, str]) -> None:
            if sock is not None:
                sock.setsockopt(*_NODELAY)
                if address != self._addresses[0]:  # the next one comes the shorter way
                    self._addresses = (address, *(each for each in LOOPBACKS if each != address))
            connected(sock)

        if self._path:
            inside.connect_unix(self._path, connected)
        else:
            Attempts(inside, self._addresses, self._port, taken)
