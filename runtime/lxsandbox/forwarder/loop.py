"""The event loop: what to call for which descriptor, and when to look again at what no descriptor tells."""

import heapq
import os
import select
import socket
import time

TYPE_CHECKING = False  # typing would be most of what this process loads
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ERR", "HUP", "IN", "OUT", "Loop"]

# Plain numbers of epoll(7).
IN, OUT, ERR, HUP = 0x001, 0x004, 0x008, 0x010
_EVENTS_AT_ONCE = 512
# After something came it is looked for more for so long before this process sleeps: the answer to a request comes sooner than
# a sleeping processor wakes up. The processor is yielded meanwhile, so that whoever else wants it has it.
_AWAKE_SECONDS = 50e-6


class Loop:
    """Level-triggered epoll. A handler gets the events of its descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._doomed: list[socket.socket] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._crowd: list[Callable[[], None]] = []
        self._next: list[Callable[[], None]] = []
        self._count = 0
        self.running = True
        self.register = self._epoll.register
        self.modify = self._epoll.modify
        self.unregister = self._epoll.unregister

    def add(self, fd: int, events: int, handler: "Callable[[int], None]") -> None:
        """Have `handler` called when `events`, an error, or a hang-up of both directions come."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def close(self, sock: socket.socket) -> None:
        """Close a socket that was added, at the end of this turn: until then no other gets its number, and its old events."""
        if self._handlers.pop(sock.fileno(), None) is not None:
            self._doomed.append(sock)

    def forget(self, sock: socket.socket) -> None:
        """Look at a socket no more, which stays open and is the caller's again."""
        if self._handlers.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def after_turn(self, call: "Callable[[], None]") -> None:
        """Call once at the end of this turn, when what was to be closed is."""
        self._next.append(call)

    def when_closed(self, call: "Callable[[], None]") -> None:
        """Call once some socket has been closed: there is room for another then."""
        self._crowd.append(call)

    def later(self, seconds: float, call: "Callable[[], None]") -> None:
        """Call once, after so long."""
        self._count += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._count, call))

    def run(self) -> None:
        """Until `running` is false."""
        poll = self._epoll.poll
        while self.running:
            told = poll(self._patience() if self._timers else -1, _EVENTS_AT_ONCE)
            while told:
                for fd, events in told:
                    handler = self._handlers.get(fd)
                    if handler is not None:
                        handler(events)
                self._end_turn()
                told = self._look_again() if self.running else []
            self._end_turn()

    def _end_turn(self) -> None:
        if self._timers:
            self._ring()
        if self._doomed:
            self._bury()
        if self._next:
            self._call_next()

    def _look_again(self) -> "list[tuple[int, int]]":
        """What comes within the time that this process stays awake."""
        poll, clock = self._epoll.poll, time.perf_counter
        until = clock() + _AWAKE_SECONDS
        while clock() < until:
            if told := poll(0, _EVENTS_AT_ONCE):
                return told
            os.sched_yield()
        return []

    def _call_next(self) -> None:
        calls, self._next = self._next, []
        for call in calls:
            call()

    def _bury(self) -> None:
        for sock in self._doomed:
            sock.close()
        self._doomed.clear()
        crowd, self._crowd = self._crowd, []
        for call in crowd:
            call()

    def _patience(self) -> float:
        return max(0.0, self._timers[0][0] - time.monotonic())

    def _ring(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
