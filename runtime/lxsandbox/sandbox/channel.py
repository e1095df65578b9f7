"""Requests over one message socket, from any thread, with no thread of its own.

Whoever waits becomes the reader and hands out what arrives; the others wait for that. What requests mean, and what the
end of a channel means, is decided by its owners.
"""

from __future__ import annotations

import itertools
import os
import select
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from lxsandbox import wire
from lxsandbox.errors import SandboxError
from lxsandbox.remote_errors import error_from_wire
from lxsandbox.sandbox.clock import milliseconds_until, moment_after, seconds_until

__all__ = ["Channel", "ChannelClosed", "CommandExit"]


class ChannelClosed(Exception):
    """The peer has gone, or this end was closed. Internal: owners turn it into the error that says why."""


class CommandExit:
    """The end of one command, once it is known: `status` is a returncode as subprocess has it, None while it runs."""

    __slots__ = ("pid", "status")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None


class _Request:
    """One request on its way; `abandoned` once nobody waits for its reply any more."""

    __slots__ = ("abandoned", "exit", "fds", "op", "reply")

    def __init__(self, op: str) -> None:
        self.op = op
        self.reply: dict[str, Any] | None = None
        self.fds: list[int] = []
        self.exit: CommandExit | None = None
        self.abandoned = False


class Channel:
    """Multiplexes requests, replies and exit events over `sock`, which it owns from now on."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._owner_pid = os.getpid()
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Request] = {}
        self._running: dict[int, CommandExit] = {}
        self._changed = threading.Condition(threading.Lock())
        self._reading = False
        self._ended = False
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)

    def call(
        self, op: str, fds: Sequence[int] = (), timeout: float | None = None, **fields: Any
    ) -> tuple[dict[str, Any], list[int]]:
        """The reply to one request, and the descriptors that came with it (the caller's).

        Raises the error that the peer replied with, TimeoutError, or ChannelClosed.
        """
        request = self._ask(op, fds, timeout, fields)
        return _outcome(request), request.fds

    def execute(self, fds: Sequence[int], timeout: float | None = None, **fields: Any) -> tuple[CommandExit, list[int]]:
        """Start a command (op `exec`): its end to be, and the descriptors that came with the reply. Raises as `call`."""
        request = self._ask("exec", fds, timeout, fields)
        _outcome(request)
        if request.exit is None:
            raise ChannelClosed("exec was answered without a pid")
        return request.exit, request.fds

    def wait_exit(self, command: CommandExit, deadline: float | None) -> int | None:
        """The status of `command`; None where `deadline` (of the monotonic clock) comes first.

        Raises ChannelClosed, also for one that another channel has started.
        """
        if command.status is None:
            self._check_process()
            if not self.started(command) and command.status is None:
                raise ChannelClosed
            self._wait_until(lambda: command.status is not None, deadline)
        return command.status

    def started(self, command: CommandExit) -> bool:
        """Whether `command` was started here, and its end is not known yet."""
        with self._changed:
            return self._running.get(command.pid) is command

    def wait_idle(self, deadline: float) -> bool:
        """Wait until no command started here runs any more, or the channel has ended; False where time was up first."""
        self._check_process()
        return self._wait_until(lambda: self._ended or not self._running, deadline)

    def wait_end(self, deadline: float | None) -> bool:
        """Wait until the peer has gone; False where `deadline` comes first."""
        self._check_process()
        return self._wait_until(lambda: self._ended, deadline)

    @property
    def ended(self) -> bool:
        """Whether the peer has gone or this end was closed; looks at what has arrived, waits for nothing."""
        return self._ended or (self._owner_pid == os.getpid() and self.wait_end(0.0))

    def close(self) -> None:
        """Close this end; whoever waits gets ChannelClosed. In a forked child the parent's use goes on undisturbed."""
        if self._owner_pid != os.getpid():
            self._sock.close()
            return
        with self._changed:
            if not self._ended:
                with suppress(OSError):  # ENOTCONN: the peer was faster
                    self._sock.shutdown(socket.SHUT_RDWR)  # wakes a thread that reads, which closing the descriptor would not
            self._ended = True
            self._changed.wait_for(lambda: not self._reading)
            self._sock.close()
            self._changed.notify_all()

    def _check_process(self) -> None:
        if self._owner_pid != os.getpid():
            raise SandboxError(
                f"this sandbox belongs to process {self._owner_pid}, and this is a fork of it",
                hint="make the sandbox in the process that uses it",
            )

    def _ask(self, op: str, fds: Sequence[int], timeout: float | None, fields: dict[str, Any]) -> _Request:
        self._check_process()
        deadline = moment_after(timeout)
        number, request = next(self._ids), _Request(op)
        self._waiting[number] = request
        try:
            self._send({"id": number, "op": op, **fields}, fds)
            if not self._wait_until(lambda: request.reply is not None, deadline):
                raise TimeoutError(f"no answer to {op!r} within {timeout} s")
        except BaseException:
            self._abandon(number, request)
            raise
        return request

    def _send(self, message: dict[str, Any], fds: Sequence[int]) -> None:
        if self._ended:
            raise ChannelClosed
        try:
            wire.send(self._sock, message, fds)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosed from error

    def _abandon(self, number: int, request: _Request) -> None:
        with self._changed:
            if request.reply is not None:
                self._discard(request, request.reply, request.fds)
            elif self._ended:
                self._waiting.pop(number, None)
            else:
                request.abandoned = True

    def _wait_until(self, done: Callable[[], bool], deadline: float | None) -> bool:
        with self._changed:
            while not done():
                if self._ended:
                    raise ChannelClosed
                if self._reading:
                    if not self._changed.wait(seconds_until(deadline)):
                        return done()
                elif not self._read_one(deadline):
                    return done()
        return True

    def _read_one(self, deadline: float | None) -> bool:
        """Read one message with the lock given up, and hand it out; False where `deadline` came first."""
        packet: tuple[dict[str, Any], list[int]] | None = None
        self._reading = True
        self._changed.release()
        try:
            if deadline is not None and not self._poll.poll(milliseconds_until(deadline)):
                return False
            try:
                packet = wire.receive(self._sock)
            except OSError:
                packet = None  # reset, or a message cut short: nothing after it can be relied on
        finally:
            self._changed.acquire()
            self._reading = False
            self._changed.notify_all()
        if packet is None:
            self._ended = True
        else:
            self._dispatch(*packet)
        return True

    def _dispatch(self, message: dict[str, Any], fds: list[int]) -> None:
        if "id" in message:
            self._take_reply(message, fds)
            return
        _close_all(fds)
        command = self._running.pop(message.get("pid", 0), None)
        if message.get("event") == "exit" and command is not None:
            command.status = int(message["status"])

    def _take_reply(self, message: dict[str, Any], fds: list[int]) -> None:
        request = self._waiting.pop(message["id"], None)
        if request is None or request.abandoned:
            self._discard(request, message, fds)
            return
        if request.op == "exec" and "ok" in message:
            # Before its exit event is read: the peer sends it after this reply.
            request.exit = self._running[message["ok"]["pid"]] = CommandExit(message["ok"]["pid"])
        request.reply, request.fds = message, fds

    def _discard(self, request: _Request | None, message: dict[str, Any], fds: list[int]) -> None:
        _close_all(fds)
        if request is not None and request.op == "exec" and "ok" in message:
            # Nobody will ever wait for this command; nor for this answer.
            with suppress(ChannelClosed, OSError):
                self._send({"id": 0, "op": "kill_tree", "pid": message["ok"]["pid"]}, ())


def _outcome(request: _Request) -> dict[str, Any]:
    reply = request.reply or {}
    if "error" in reply:
        _close_all(request.fds)
        raise error_from_wire(reply["error"])
    ok: dict[str, Any] = reply.get("ok") or {}
    return ok


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
