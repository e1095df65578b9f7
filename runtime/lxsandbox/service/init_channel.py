"""Requests to an init over a channel of one's own, one after another: for threads of the service."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Sequence
from typing import Any

from lxsandbox import wire
from lxsandbox.remote_errors import error_from_wire

__all__ = ["InitChannel", "InitGone"]

_BLOCK_BYTES = 64 << 10


class InitGone(Exception):
    """The sandbox has ended. Whoever has its box knows why."""


class InitChannel:
    """One channel, and one thread that uses it. To be closed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._next = 0
        self._ends: dict[int, int] = {}  # of commands that have ended, by pid: the return codes

    def close(self) -> None:
        self._sock.close()

    def ask(self, op: str, fds: Sequence[int] = (), **fields: Any) -> tuple[dict[str, Any], list[int]]:
        """The answer, and the descriptors that came with it. Raises what init answers: OSError, SandboxError; and InitGone."""
        self._next += 1
        try:
            wire.send(self._sock, {"id": self._next, "op": op, **fields}, fds)
        except OSError as error:
            raise InitGone from error
        while True:
            message, passed = self._receive()
            if message.get("id") == self._next:
                if "error" in message:
                    raise error_from_wire(message["error"])
                return message["ok"], passed

    def ask_fd(self, op: str, **fields: Any) -> int:
        """The one descriptor that is the answer. Raises as `ask`."""
        _, (fd,) = self.ask(op, **fields)
        return fd

    def run(self, output: Callable[[bytes], None], **fields: Any) -> int:
        """Start a command, and wait for its end: its return code. What it prints, on either stream, goes to `output`.

        What it leaves running is not waited for. Raises as `ask`.
        """
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            try:
                pid = self.ask("exec", [stdin, writer, writer], **fields)[0]["pid"]
            finally:
                os.close(stdin)
                os.close(writer)
            return self._followed(pid, reader, output)
        finally:
            os.close(reader)

    def _followed(self, pid: int, reader: int, output: Callable[[bytes], None]) -> int:
        sources: list[Any] = [self._sock, reader]
        while pid not in self._ends:
            ready, _, _ = select.select(sources, (), ())
            if reader in ready and not _passed_on(reader, output):
                sources.remove(reader)
            if self._sock in ready:
                self._receive()
        while select.select([reader], (), (), 0)[0] and _passed_on(reader, output):
            pass  # what it has said last
        return self._ends.pop(pid)

    def _receive(self) -> tuple[wire.Message, list[int]]:
        try:
            received = wire.receive(self._sock)
        except OSError as error:
            raise InitGone from error
        if received is None:
            raise InitGone
        message, fds = received
        if message.get("event") == "exit":
            self._ends[message["pid"]] = message["status"]
        return message, fds


def _passed_on(reader: int, output: Callable[[bytes], None]) -> bool:
    """False at the end of what there is to read."""
    block = os.read(reader, _BLOCK_BYTES)
    if block:
        output(block)
    return bool(block)
