"""Message sockets in the event loop: what arrives goes to a callback, what cannot be sent at once waits its turn."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence

from lxsandbox import wire

__all__ = ["MessageSocket"]

_MOST_PENDING = 10_000  # messages for a peer that does not read; after that it is treated as gone


class MessageSocket:
    """One connected peer. `on_message(message, fds)` owns the descriptors; `on_close()` is called once, at the end."""

    def __init__(
        self, sock: socket.socket, on_message: Callable[[wire.Message, list[int]], None], on_close: Callable[[], None]
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._on_close = on_close
        self._pending: deque[tuple[wire.Message, list[int]]] = deque()
        self.closed = False
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, message: wire.Message, fds: Sequence[int] = ()) -> None:
        """Send, or queue; to a peer that has gone, nothing happens: its `on_close` tells."""
        if self.closed:
            return
        if not self._pending:
            try:
                wire.send(self._sock, message, fds)
                return
            except BlockingIOError:
                self._loop.add_writer(self._sock.fileno(), self._writable)
            except OSError:
                return  # it has gone; what it said last is read before its end-of-file
        if len(self._pending) >= _MOST_PENDING:
            self._loop.call_soon(self.close)
            return
        self._pending.append((message, [os.dup(fd) for fd in fds]))

    def _writable(self) -> None:
        while self._pending:
            message, fds = self._pending[0]
            try:
                wire.send(self._sock, message, fds)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            self._pending.popleft()
            _close_all(fds)
        self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> bool:
        """Take in one message; False when there is none now, or no peer any more."""
        try:
            received = wire.receive(self._sock)
        except BlockingIOError:
            return False
        except OSError:
            received = None
        if received is None:
            self.close()
            return False
        self._on_message(*received)
        return True

    def read_rest(self) -> None:
        """Take in what a peer that has ended said before."""
        while not self.closed and self._readable():
            pass

    def close(self) -> None:
        """Let go of the peer. Calling it again does nothing."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for _, fds in self._pending:
            _close_all(fds)
        self._pending.clear()
        self._on_close()


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
