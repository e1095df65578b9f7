"""A netlink socket that asks and waits for the kernel's answer, which comes at once: no event loop is needed."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Sequence
from typing import Self

__all__ = ["ACK", "CREATE", "DUMP", "ECHO", "EXCLUSIVE", "NETFILTER", "REPLACE", "ROUTE", "Conversation", "Request"]

ROUTE, NETFILTER = 0, 12  # protocols of AF_NETLINK, netlink(7)
_REQUEST, ACK, ECHO, DUMP = 0x1, 0x4, 0x8, 0x300
REPLACE, EXCLUSIVE, CREATE = 0x100, 0x200, 0x400
_ERROR, _DONE = 2, 3
_HEAD = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_NETLINK_CAP_ACK = 10  # an error without the request that it is about
_SEND_BUFFER = 32  # SO_SNDBUFFORCE, socket(7)
_ANSWER_BYTES = 1 << 17
_SECONDS = 10.0  # the kernel answers within the call; a bound all the same

Request = tuple[int, int, bytes]  # type, flags, what follows the header


class Conversation:
    """Requests to one part of the kernel, in the network namespace that the process is in when this is made."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(270, _NETLINK_CAP_ACK, 1)  # SOL_NETLINK
        self._socket.settimeout(_SECONDS)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """What the kernel answers, each without its header. Raises OSError with what it refused with."""
        return self.ask_all([(kind, flags | ACK, body)])

    def ask_all(self, requests: Sequence[Request]) -> list[bytes]:
        """Send `requests` in one packet and read until each that wants an acknowledgement or a dump has its end.

        Raises OSError with the first refusal, when all have been read.
        """
        first = self._sequence + 1
        waiting: set[int] = set()
        packet = b""
        for kind, flags, body in requests:
            self._sequence += 1
            if flags & (ACK | DUMP):
                waiting.add(self._sequence)
            packet += _HEAD.pack(_HEAD.size + len(body), kind, flags | _REQUEST, self._sequence, 0) + body
        self._send(packet)
        return self._answers(waiting, first)

    def _send(self, packet: bytes) -> None:
        try:
            self._socket.send(packet)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            # Many members make a long batch. The forced size needs a right that root of a user namespace lacks.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(packet))
            self._socket.send(packet)

    def _answers(self, waiting: set[int], first: int) -> list[bytes]:
        found: list[bytes] = []
        refusal = 0
        while waiting:
            data = self._socket.recv(_ANSWER_BYTES)
            while len(data) >= _HEAD.size:
                length, kind, _, sequence, _ = _HEAD.unpack_from(data)
                body, data = data[_HEAD.size : length], data[(length + 3) & ~3 :]
                if sequence < first:
                    continue  # of an earlier packet that was given up
                if kind == _ERROR:
                    refusal = refusal or -struct.unpack_from("=i", body)[0]
                if kind in (_ERROR, _DONE):
                    waiting.discard(sequence)
                else:
                    found.append(body)
            # A batch that is refused as a whole is answered at its first message alone.
            if refusal and not self._more():
                break
        if refusal:
            raise OSError(refusal, os.strerror(refusal))
        return found

    def _more(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))
