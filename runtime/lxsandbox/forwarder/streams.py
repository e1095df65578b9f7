"""Two connected stream sockets, joined: what comes out of one goes into the other, in both directions, until both have ended.

Ends pass through as they are: a half-close as a half-close, a reset as a reset. Who is slow makes the other wait.
"""

import os
import socket
import struct

from lxsandbox.forwarder.loop import ERR, HUP, IN, OUT, Loop
from lxsandbox.forwarder.pipes import PIPE_BYTES, Pipe, Pipes

TYPE_CHECKING = False  # typing would be most of what this process loads
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ABORT", "Link"]

# Up to this much is copied: for a request or an answer that is faster than two splices. What is more goes through a pipe.
_COPIED_BYTES = 16 << 10
_DONTWAIT = int(socket.MSG_DONTWAIT)
_QUIET = _DONTWAIT | int(socket.MSG_NOSIGNAL)
_SPLICE = 0x01 | 0x02  # SPLICE_F_MOVE, SPLICE_F_NONBLOCK
# SO_LINGER of socket(7): on, for no time. Then the peer of a socket that is closed, or whose process is killed, sees a reset,
# and no clean end of what was cut short. So it is with every socket here until its link has come to its end.
ABORT = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
_LINGER = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))


class End:
    """One of the two. Bytes that were read from it and that the other does not take yet are in `held` or in `pipe`."""

    __slots__ = ("ended", "fd", "held", "link", "mask", "parked", "peer", "pipe", "recv", "send", "sock")

    peer: "End"

    def __init__(self, sock: socket.socket, link: "Link") -> None:
        self.sock = sock
        self.link = link
        self.fd = sock.fileno()
        self.recv = sock.recv
        self.send = sock.send
        self.mask = IN
        self.parked = False  # not looked at by epoll: it would tell of a hang-up again and again
        self.held: memoryview | None = None
        self.pipe: Pipe | None = None
        self.ended = False

    def ready(self, events: int) -> None:
        """What the loop calls."""
        if events == IN and self.mask & IN:
            self._pump()
            return
        if events & OUT and self.mask & OUT:
            self.peer.flush()
        if events & (IN | ERR | HUP) and not self.link.closed:
            if self.mask & IN:
                self._pump()
            elif events & ERR:
                self.link.reset()
            elif events & HUP and not self.mask:
                self.link.loop.unregister(self.fd)
                self.parked = True

    def _pump(self) -> None:
        """Move what has come; once for each event, so that all links get their turn."""
        try:
            data = self.recv(_COPIED_BYTES, _DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            self.link.reset()
            return
        if not data:
            self._finish()
            return
        try:
            sent = self.peer.send(data, _QUIET)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.link.reset()
            return
        if sent != len(data):
            self.held = memoryview(data)[sent:]
            self._stall()
        elif sent == _COPIED_BYTES:
            self._splice()

    def _splice(self) -> None:
        pipe = self.link.pipes.take()
        if pipe is None:
            return
        try:
            pipe.count = os.splice(self.fd, pipe.writer, PIPE_BYTES, flags=_SPLICE)
        except BlockingIOError:
            self.link.pipes.give_back(pipe)
            return
        except OSError:
            self.link.pipes.give_back(pipe)
            self.link.reset()
            return
        if not pipe.count:
            self.link.pipes.give_back(pipe)
            self._finish()
            return
        self.pipe = pipe
        if not self._drained(pipe):
            self._stall()

    def _drained(self, pipe: Pipe) -> bool:
        """Whether all that is in the pipe has gone; also true where the link has, since nothing waits then."""
        while pipe.count:
            try:
                pipe.count -= os.splice(pipe.reader, self.peer.fd, pipe.count, flags=_SPLICE)
            except BlockingIOError:
                return False
            except OSError:
                self.link.reset()
                return True
        self.pipe = None
        self.link.pipes.give_back(pipe)
        return True

    def _stall(self) -> None:
        """The other end takes no more: read no more here until it does."""
        self.want(self.mask & ~IN)
        self.peer.want(self.peer.mask | OUT)

    def flush(self) -> None:
        """The other end takes more: go on."""
        if self.held is not None:
            try:
                self.held = self.held[self.peer.send(self.held, _QUIET) :]
            except BlockingIOError:
                return
            except OSError:
                self.link.reset()
                return
            if self.held:
                return
            self.held = None
        if self.pipe is not None and not self._drained(self.pipe):
            return
        if not self.link.closed:
            self.peer.want(self.peer.mask & ~OUT)
            self.want(self.mask | IN)

    def _finish(self) -> None:
        """It has said all, and the other end has got it."""
        self.ended = True
        if self.peer.ended:
            self.link.finish()
            return
        self.want(self.mask & ~IN)
        try:
            self.peer.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.link.reset()

    def want(self, mask: int) -> None:
        """Have the loop look for these events."""
        if mask == self.mask:
            return
        self.mask = mask
        if not self.parked:
            self.link.loop.modify(self.fd, mask)
        elif mask:
            self.parked = False
            self.link.loop.register(self.fd, mask)


class Link:
    """Both ends together; they close together. `over` is called once, when they have."""

    __slots__ = ("_over", "closed", "ends", "loop", "pipes")

    def __init__(
        self, loop: Loop, pipes: Pipes, outside: socket.socket, inside: socket.socket, over: "Callable[[Link], None]"
    ) -> None:
        self.loop = loop
        self.pipes = pipes
        self.closed = False
        self._over = over
        one, other = self.ends = End(outside, self), End(inside, self)
        one.peer, other.peer = other, one
        for end in self.ends:
            loop.add(end.fd, end.mask, end.ready)

    def reset(self) -> None:
        """Break both connections off, as one of them was."""
        if not self.closed:
            self._close()

    def finish(self) -> None:
        """Both have ended, and what they sent last may still be on its way: the kernel sees to that."""
        for end in self.ends:
            end.sock.setsockopt(*_LINGER)
        self._close()

    def _close(self) -> None:
        self.closed = True
        for end in self.ends:
            self.loop.close(end.sock)
            if end.pipe is not None:
                self.pipes.give_back(end.pipe)
                end.pipe = None
        self._over(self)
