"""One sandbox as the forwarder sees it: its init, which opens sockets in its network, and all that depends on it.

A few are kept ready, so that nobody waits for init; also while the sandbox is paused, and init answers nothing.
"""

import errno
import os
import socket

from lxsandbox import wire
from lxsandbox.forwarder.loop import IN, Loop

TYPE_CHECKING = False  # typing would be most of what this process loads
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    Then = Callable[[socket.socket | None], None]

    class Dependent(Protocol):
        """What breaks off when the sandbox has ended."""

        def reset(self) -> None: ...


__all__ = ["Inside"]

_STOCK = 16  # of a kind; as many are asked for at a time
_WAITING_AT_MOST = 64
_DONTWAIT = int(socket.MSG_DONTWAIT)
_RETRY_SECONDS = 0.02  # nothing tells when the backlog of a unix socket has room again
_UNIX_STREAM = (int(socket.AF_UNIX), int(socket.SOCK_STREAM))


class Inside:
    """The sandbox behind an init's channel. `gone` is called when it has ended; then everything that it gave is closed."""

    def __init__(self, loop: Loop, channel: socket.socket, gone: "Callable[[], None]") -> None:
        self.loop = loop
        self.closed = False
        self._channel = channel
        self._gone = gone
        self._next = 0
        self._stock: dict[tuple[int, int], list[socket.socket]] = {}
        self._wanted: dict[tuple[int, int], list[Then]] = {}
        self._asked: dict[int, tuple[int, int]] = {}  # requests for sockets, by what they are for
        self._calls: dict[int, Callable[[int, list[int]], None]] = {}  # other requests
        self._relieved: list[Callable[[], None]] = []
        self._retrying = 0
        self.dependents: set[Dependent] = set()
        loop.add(channel.fileno(), IN, self._answered)

    @property
    def busy(self) -> bool:
        """Whether so many wait for init that no more should be let in."""
        return self._retrying + len(self._calls) + sum(map(len, self._wanted.values())) >= _WAITING_AT_MOST

    def when_relieved(self, call: "Callable[[], None]") -> None:
        """Have `call` called once when it is not busy any more."""
        self._relieved.append(call)

    def take(self, family: int, kind: int, then: "Then") -> None:
        """Call `then` with a socket of the sandbox, now or later; with None where there is none to be had."""
        key = (family, kind)
        stock = self._stock.setdefault(key, [])
        if self.closed:
            then(None)
        elif stock:
            taken = stock.pop()
            if len(stock) < _STOCK // 2:
                self._order(key)
            then(taken)
        else:
            self._wanted.setdefault(key, []).append(then)
            self._order(key)

    def stock_up(self, family: int, kind: int) -> None:
        """Have some ready before anybody asks."""
        self._order((family, kind))

    def _order(self, key: tuple[int, int]) -> None:
        if key not in self._asked.values():
            number = self._ask({"op": "socket", "family": key[0], "type": key[1], "count": _STOCK})
            if number:
                self._asked[number] = key
            else:
                self._serve(key, [])

    def connect_unix(self, path: str, then: "Then") -> None:
        """Call `then` with a stream connected to the unix socket `path` of the sandbox; None where nobody listens there."""

        def answered(error: int, fds: list[int]) -> None:
            if error == errno.EAGAIN:  # its backlog is full
                self._retrying += 1
                self.loop.later(_RETRY_SECONDS, again)
            else:
                then(_adopted(fds, _UNIX_STREAM))

        def again() -> None:
            self._retrying -= 1
            self.connect_unix(path, then)

        number = 0 if self.closed else self._ask({"op": "connect", "path": path})
        if number:
            self._calls[number] = answered
        else:
            then(None)

    def _ask(self, request: "dict[str, Any]") -> int:
        """The number of the request; 0 where init has gone, or takes none."""
        self._next += 1
        try:
            wire.send(self._channel, {"id": self._next, **request}, (), _DONTWAIT)
        except OSError:
            return 0
        return self._next

    def _answered(self, _: int) -> None:
        try:
            received = wire.receive(self._channel, _DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            received = None
        if received is None:
            self.close()
            self._gone()
            return
        message, fds = received
        number = message.get("id")
        key = self._asked.pop(number, None) if isinstance(number, int) else None
        call = self._calls.pop(number, None) if isinstance(number, int) else None
        if key is not None:
            self._serve(key, fds)
        elif call is not None:
            call(_number_of(message.get("error")), fds)
        else:
            _close_all(fds)
        if self._relieved and not self.busy:
            relieved, self._relieved = self._relieved, []
            for each in relieved:
                each()

    def _serve(self, key: tuple[int, int], fds: list[int]) -> None:
        """Hand out what has come; where nothing has, whoever waits is told so."""
        wanted = self._wanted.pop(key, [])
        stock = self._stock.setdefault(key, [])
        stock += [sock for fd in fds if (sock := _adopted([fd], key)) is not None]
        nothing = not stock
        while wanted and (stock or nothing):
            wanted.pop(0)(stock.pop() if stock else None)
        if wanted:
            self._wanted[key] = wanted + self._wanted.get(key, [])
            self._order(key)

    def close(self) -> None:
        """Let go of everything that is of this sandbox: its sockets would keep its network."""
        if self.closed:
            return
        self.closed = True
        self.loop.close(self._channel)
        for stock in self._stock.values():
            for sock in stock:
                sock.close()
        self._stock.clear()
        calls, self._calls = self._calls, {}
        wanted, self._wanted = self._wanted, {}
        for call in calls.values():
            call(errno.ECONNRESET, [])
        for thens in wanted.values():
            for then in thens:
                then(None)
        for dependent in list(self.dependents):
            dependent.reset()
        self.dependents.clear()
        self._relieved.clear()


def _adopted(fds: list[int], key: tuple[int, int]) -> "socket.socket | None":
    """The one descriptor that was asked for, as a socket. What init passes is looked at: it runs where the user's code does."""
    if len(fds) != 1:
        _close_all(fds)
        return None
    try:
        sock = socket.socket(fileno=fds[0])
    except OSError:
        _close_all(fds)
        return None
    if (int(sock.family), int(sock.type)) != key:
        sock.close()
        return None
    sock.setblocking(False)
    return sock


def _number_of(error: "Any") -> int:
    """The errno of an answer; nonsense is an error too."""
    try:
        return 0 if error is None else int(error["errno"]) or errno.EIO
    except (KeyError, TypeError, ValueError):
        return errno.EIO


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
