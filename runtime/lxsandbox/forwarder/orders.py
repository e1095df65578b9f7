"""What the service has the forwarder do: this line of sandboxes is that one now, its port is to be had here, it is no more.

A line is a sandbox and all that take its place by a reset. The end of the service is the end of this.
"""

import errno
import os
import socket

from lxsandbox import wire
from lxsandbox.forwarder.datagrams import Datagrams
from lxsandbox.forwarder.inside import Inside
from lxsandbox.forwarder.listeners import Listener
from lxsandbox.forwarder.loop import IN, Loop
from lxsandbox.forwarder.pipes import Pipes

TYPE_CHECKING = False  # typing would be most of what this process loads
if TYPE_CHECKING:
    from typing import Any

__all__ = ["main"]

_HOST = "127.0.0.1"


class _Line:
    """The sandbox that has the addresses now, and the addresses."""

    def __init__(self) -> None:
        self.inside: Inside | None = None
        self.doors: list[Listener | Datagrams] = []

    def has(self, inside: Inside | None) -> None:
        """Another sandbox, or for now none; what was joined to the one before is broken off."""
        before, self.inside = self.inside, inside
        if before is not None:
            before.close()
        for door in self.doors:
            door.serve(inside)

    def end(self) -> None:
        for door in self.doors:
            door.close()
        self.doors.clear()
        if self.inside is not None:
            self.inside.close()


class Orders:
    """The service's end of the line, and what it can say."""

    def __init__(self, control: socket.socket) -> None:
        self.loop = Loop()
        self._control = control
        self._pipes = Pipes()
        self._lines: dict[str, _Line] = {}
        self._operations = {"sandbox": self._sandbox, "listen": self._listen, "end": self._end}
        self.loop.add(control.fileno(), IN, self._ordered)

    def _ordered(self, _: int) -> None:
        try:
            received = wire.receive(self._control)
        except OSError:
            received = None  # killed with something unread
        if received is None:
            self.loop.running = False
            return
        request, fds = received
        answer: dict[str, Any] = {"id": request["id"]}
        try:
            answer["ok"] = self._operations[request["op"]](request, fds)
        except OSError as error:
            answer["error"] = {"errno": error.errno, "message": error.strerror}
        for fd in fds:
            os.close(fd)
        self.loop.after_turn(lambda: self._answer(answer))

    def _answer(self, answer: "dict[str, Any]") -> None:
        try:
            wire.send(self._control, answer)
        except OSError:
            self.loop.running = False

    def _sandbox(self, request: "dict[str, Any]", fds: list[int]) -> "dict[str, Any]":
        """From now on, or from its first time, the line is the sandbox whose init is at the other end of the descriptor."""
        line = self._lines.setdefault(request["line"], _Line())
        channel = socket.socket(fileno=fds.pop(0))
        inside: Inside

        def gone() -> None:
            if line.inside is inside:
                line.has(None)

        inside = Inside(self.loop, channel, gone)
        line.has(inside)
        return {}

    def _listen(self, request: "dict[str, Any]", _: list[int]) -> "dict[str, Any]":
        """Have a port, or a unix socket, of the line here; at a free port where `host_port` is 0. Answers with the port."""
        line = self._lines.get(request["line"])
        if line is None:
            raise OSError(errno.ENOENT, "it has ended")
        datagrams = request["protocol"] == "udp"
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM)
        try:
            if not datagrams:
                # Connections that have ended but a moment ago do not keep the port; one that listens does, see socket(7).
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setblocking(False)
            sock.bind((_HOST, request["host_port"]))
            door = self._door(sock, request)
        except BaseException:
            sock.close()
            raise
        line.doors.append(door)
        door.serve(line.inside)
        return {"port": sock.getsockname()[1]}

    def _door(self, sock: socket.socket, request: "dict[str, Any]") -> "Listener | Datagrams":
        if request["protocol"] == "udp":
            return Datagrams(self.loop, sock, port=request["port"], idle_seconds=request["idle_seconds"])
        return Listener(self.loop, self._pipes, sock, port=request["port"], path=request["path"])

    def _end(self, request: "dict[str, Any]", _: list[int]) -> "dict[str, Any]":
        """The line has ended: nothing listens for it any more once this is answered."""
        line = self._lines.pop(request["line"], None)
        if line is not None:
            line.end()
        return {}


def main(control_fd: int) -> None:
    """Be the forwarder of the service at the other end of `control_fd`."""
    control = socket.socket(fileno=control_fd)
    control.set_inheritable(False)
    Orders(control).loop.run()
