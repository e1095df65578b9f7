"""The loop of PID 1: requests from the service and from clients, and children that end.

A client's channel that closes is forgotten; when the control socket closes, init exits and takes the sandbox with it.
"""

import os
import select
import signal
import socket

from lxsandbox import wire
from lxsandbox.init import filesystem, sockets
from lxsandbox.init.commands import Commands, Refused
from lxsandbox.init.tree import kill_tree, signal_all

TYPE_CHECKING = False  # the spawner loads this module
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Reply = dict[str, Any] | tuple[dict[str, Any], list[int]]

__all__ = ["Server", "os_error"]

_DONTWAIT = int(socket.MSG_DONTWAIT)
_OF_THE_ROOT = {**filesystem.OPERATIONS, **sockets.OPERATIONS}


class Server:
    """Everything init knows: its sockets, its commands, and the main command among them."""

    def __init__(self, control: socket.socket, uppers: list[tuple[str, int]]) -> None:
        self.control = control
        self.uppers = uppers
        self.root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.channels: dict[int, socket.socket] = {control.fileno(): control}
        self.unsent: dict[int, list[tuple[dict[str, Any], list[int]]]] = {}
        self.poll = select.poll()
        self.poll.register(control.fileno(), select.POLLIN)
        self.main: dict[str, Any] = {"pid": None, "status": None}
        self.main_start = 0  # the service's number for its last start
        self.log = -1
        self.operations: dict[str, Callable[[dict[str, Any], list[int], socket.socket], Reply]] = {
            "go": self._go,
            "exec": self._exec,
            "signal": self._signal,
            "kill_tree": self._kill_tree,
            "signal_all": self._signal_all,
            "restart": self._restart,
            "main": self._main,
            "channel": self._channel,
            "uppers": self._uppers,
        }
        self.wakeup = self._wake_on_child()

    def become(self, go: "dict[str, Any]", log: int) -> None:
        """Be what the service says, before anybody has used this sandbox: what commands start from, and the main one.

        With a main command the service is told whether it has started. Without, nothing is left that could fail.
        """
        if self.log >= 0:
            os.close(self.log)
        self.commands = Commands(self.root, go)
        self.main_args: list[str] | None = go["main"]
        self.log = log
        if self.main_args is None:
            return
        told: dict[str, Any] = {"event": "ready"}
        try:
            self.start_main()
        except Refused as refused:
            told = {"event": "failed", "error": refused.error}
        except OSError as error:
            told = {"event": "failed", "error": os_error(error)}
        self._answer(self.control, told)

    def _wake_on_child(self) -> int:
        """A descriptor that is readable when a child has ended; the handler that this takes is the spawner's."""
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self.poll.register(read, select.POLLIN)
        return read

    def run(self) -> None:
        """Serve until the control socket closes."""
        while True:
            for fd, events in self.poll.poll():
                if fd == self.wakeup:
                    self._children_ended()
                    continue
                if events & select.POLLOUT and fd in self.channels:
                    self._catch_up(self.channels[fd])
                if events == select.POLLOUT:
                    continue
                if fd in self.channels and not self._serve(self.channels[fd]) and fd == self.control.fileno():
                    return

    def _serve(self, sock: socket.socket) -> bool:
        """Answer one message; False when the peer has gone."""
        try:
            received = wire.receive(sock)
        except OSError:
            received = None
        if received is None:
            self._forget(sock)
            return False
        request, fds = received
        answer: dict[str, Any] = {"id": request.get("id")}
        passed: list[int] = []
        try:
            done = self._do(request, fds, sock)
            answer["ok"], passed = done if isinstance(done, tuple) else (done, [])
        except Refused as refused:
            answer["error"] = refused.error
        except OSError as error:
            answer["error"] = {
                "kind": "OSError",
                "errno": error.errno,
                "message": error.strerror,
                "filename": request.get("path"),
            }
        except Exception as error:  # noqa: BLE001 - nonsense from a client must not end PID 1, and with it the sandbox
            answer["error"] = {"kind": "SandboxError", "message": f"init cannot do {request.get('op')!r}: {error!r}"}
        finally:
            for fd in fds:
                os.close(fd)
        self._answer(sock, answer, passed)
        for fd in passed:
            os.close(fd)
        return True

    def _do(self, request: "dict[str, Any]", fds: list[int], sock: socket.socket) -> "Reply":
        name = request.get("op")
        if name in _OF_THE_ROOT:
            done: Reply = _OF_THE_ROOT[name](self.root, request)
            return done
        if name in self.operations:
            return self.operations[name](request, fds, sock)
        raise Refused("SandboxError", f"init knows no operation {name!r}")

    def _answer(self, sock: socket.socket, message: "dict[str, Any]", fds: "list[int] | tuple[()]" = ()) -> None:
        """Send; to a peer that does not read, later. PID 1 must not wait for anybody."""
        waiting = self.unsent.get(sock.fileno())
        if waiting is None and not self._sent(sock, message, fds):
            waiting = self.unsent[sock.fileno()] = []
            self.poll.modify(sock.fileno(), select.POLLIN | select.POLLOUT)
        if waiting is not None:
            waiting.append((message, [os.dup(fd) for fd in fds]))

    def _sent(self, sock: socket.socket, message: "dict[str, Any]", fds: "list[int] | tuple[()]") -> bool:
        try:
            wire.send(sock, message, fds, _DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            self._forget(sock)
        return True

    def _catch_up(self, sock: socket.socket) -> None:
        """Send what had to wait, as far as it goes."""
        waiting = self.unsent.get(sock.fileno(), [])
        while waiting and self._sent(sock, *waiting[0]):
            for fd in waiting.pop(0)[1]:
                os.close(fd)
        if not waiting and self.unsent.pop(sock.fileno(), None) is not None:
            self.poll.modify(sock.fileno(), select.POLLIN)

    def _forget(self, sock: socket.socket) -> None:
        fd = sock.fileno()
        if sock is not self.control and self.channels.pop(fd, None) is not None:
            self.poll.unregister(fd)
            for _, passed in self.unsent.pop(fd, []):
                for each in passed:
                    os.close(each)
            sock.close()

    def _children_ended(self) -> None:
        try:
            os.read(self.wakeup, 512)
        except BlockingIOError:
            pass
        for pid, status, owner in self.commands.reap():
            if pid == self.main["pid"]:
                self.main["status"] = status
                self._answer(self.control, {"event": "main_ended", "status": status, "start": self.main_start})
            elif owner is not None and owner.fileno() >= 0:
                self._answer(owner, {"event": "exit", "pid": pid, "status": status})

    def add_channel(self, fd: int) -> None:
        """Serve another client on the socket `fd`."""
        sock = socket.socket(fileno=fd)
        self.channels[sock.fileno()] = sock
        self.poll.register(sock.fileno(), select.POLLIN)

    def start_main(self) -> None:
        """Start the main command, where there is one, with the log as its output. Raises Refused or OSError."""
        if self.main_args is not None:
            stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            try:
                pid = self.commands.start({"args": self.main_args}, [stdin, self.log, self.log], None)
            finally:
                os.close(stdin)
            self.main = {"pid": pid, "status": None}

    def _go(self, request: "dict[str, Any]", fds: list[int], sock: socket.socket) -> "Reply":
        """Become something else than was expected."""
        if sock is not self.control:
            raise Refused("SandboxError", "only the service says what a sandbox is to become")
        self.become(request, fds.pop(0))
        return {}

    def _exec(self, request: "dict[str, Any]", fds: list[int], sock: socket.socket) -> "Reply":
        if not request.get("pty"):
            return {"pid": self.commands.start(request, fds[:3], sock)}
        master, slave = self.commands.open_terminal()
        try:
            return {"pid": self.commands.start(request, [slave, slave, slave], sock)}, [master]
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)

    def _signal(self, request: "dict[str, Any]", _: list[int], __: socket.socket) -> "Reply":
        self.commands.signal(request["pid"], request["signal"], group=bool(request.get("group")))
        return {}

    def _kill_tree(self, request: "dict[str, Any]", _: list[int], __: socket.socket) -> "Reply":
        kill_tree(request["pid"], set(self.commands.running) - {request["pid"]})
        return {}

    def _signal_all(self, request: "dict[str, Any]", _: list[int], __: socket.socket) -> "Reply":
        signal_all(request["signal"])
        return {}

    def _restart(self, request: "dict[str, Any]", __: list[int], ___: socket.socket) -> "Reply":
        """Kill everything but init, tell who waited for it, and start the main command again."""
        main = self.main["pid"]
        self.main_start = request.get("start", self.main_start)
        self.main = {"pid": None, "status": None}
        signal_all(signal.SIGKILL)
        # Orphans too: what the old main command started may hold its port or lock until it has gone.
        while (ended := _next_ended()) is not None:
            pid, status = ended
            owner = self.commands.running.pop(pid, None)
            if owner is not None and pid != main and owner.fileno() >= 0:
                self._answer(owner, {"event": "exit", "pid": pid, "status": os.waitstatus_to_exitcode(status)})
        self.start_main()
        return {}

    def _main(self, _: "dict[str, Any]", __: list[int], ___: socket.socket) -> "Reply":
        return dict(self.main)

    def _channel(self, _: "dict[str, Any]", fds: list[int], sock: socket.socket) -> "Reply":
        if sock is not self.control:
            raise Refused("SandboxError", "only the service adds channels")
        self.add_channel(fds.pop(0))
        return {}

    def _uppers(self, _: "dict[str, Any]", __: list[int], sock: socket.socket) -> "Reply":
        if sock is not self.control:
            raise Refused("SandboxError", "only the service sees what a sandbox has written as it is stored")
        if len(self.uppers) > wire.MAX_FDS:
            raise Refused("SandboxError", f"this root has too many parts to look for changes in: {len(self.uppers)}")
        return {"targets": [target for target, _ in self.uppers]}, [os.dup(fd) for _, fd in self.uppers]


def os_error(error: OSError) -> "dict[str, Any]":
    """The error as the service is told of it."""
    return {"kind": "OSError", "message": str(error), "errno": error.errno}


def _next_ended() -> tuple[int, int] | None:
    """Wait for a child to end: its pid and wait status; None once there is no child."""
    try:
        return os.waitpid(-1, 0)
    except ChildProcessError:
        return None
