"""A netlink socket that asks and waits for the kernel's answer, which comes at once: no event loop is needed."""

import errno
import os
import select
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

__all__ = [
    "ACK", "APPEND", "CREATE", "DUMP", "ECHO", "EXCLUSIVE", "NETFILTER", "REPLACE", "ROUTE", "Conversation", "Request",
    "answers", "packed",
]  # fmt: skip

ROUTE, NETFILTER = 0, 12  # protocols of AF_NETLINK, netlink(7)
_REQUEST, ACK, ECHO, DUMP = 0x1, 0x4, 0x8, 0x300
REPLACE, EXCLUSIVE, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
_ERROR, _DONE = 2, 3
_HEAD = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_NUMBER = struct.Struct("=i")
_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10  # an error without the request that it is about
_ANSWER_BYTES = 64 << 10  # the kernel's own packets have 32 KiB at most
_PATIENCE = struct.pack("@ll", 10, 0)  # struct timeval. The kernel answers within the call; a bound all the same.

Request = tuple[int, int, bytes]
"""Type, flags, and what follows the header."""


def packed(request: Request, sequence: int) -> bytes:
    """A request as it is sent."""
    kind, flags, body = request
    return _HEAD.pack(_HEAD.size + len(body), kind, flags | _REQUEST, sequence, 0) + body


def answers(packet: bytes) -> "Iterator[tuple[int, int | None, bytes]]":
    """Each message of a packet: its sequence number, the errno that it ends a request with (0: done), and its body.

    The errno is None of a message that ends nothing.
    """
    offset = 0
    while offset + _HEAD.size <= len(packet):
        length, kind, _, sequence, _ = _HEAD.unpack_from(packet, offset)
        body = packet[offset + _HEAD.size : offset + length]
        if kind == _ERROR:
            yield sequence, -_NUMBER.unpack_from(body)[0], body
        else:
            yield sequence, 0 if kind == _DONE else None, body
        offset += (length + 3) & ~3


class Conversation:
    """Requests to one part of the kernel, in the network namespace that the process is in when this is made."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)  # Python's own timeout polls each time
        self._sequence = 0

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def ask(self, *requests: Request) -> list[bytes]:
        """What the kernel answers, each without its header. Raises OSError with the first refusal, when all have been tried."""
        errors, bodies = self.attempt(*requests)
        for refusal in filter(None, errors):
            raise OSError(refusal, os.strerror(refusal))
        return bodies

    def attempt(self, *requests: Request) -> tuple[list[int], list[bytes]]:
        """The same, with the errno of each request, 0 for those that were done.

        All are sent in one packet; what is waited for is the end of each that has the flag ACK or DUMP.
        """
        first = self._sequence + 1
        self._sequence += len(requests)
        waiting = {number for number, (_, flags, _) in enumerate(requests, first) if flags & (ACK | DUMP)}
        self._send(b"".join([packed(request, number) for number, request in enumerate(requests, first)]))
        errors, bodies = self._read(waiting, first)
        return [errors.get(number, 0) for number in range(first, first + len(requests))], bodies

    def _send(self, packet: bytes) -> None:
        try:
            self._socket.send(packet)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            # Many members make a long batch. The forced size needs a right that root of a user namespace lacks.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(packet))
            self._socket.send(packet)

    def _read(self, waiting: set[int], first: int) -> tuple[dict[int, int], list[bytes]]:
        errors: dict[int, int] = {}
        bodies: list[bytes] = []
        perhaps_no_more = False
        while waiting:
            packet = self._packet()
            for sequence, ended, body in answers(packet):
                if sequence < first:
                    continue  # of an earlier packet that was given up
                if ended is None:
                    bodies.append(body)
                else:
                    errors[sequence] = ended
                    # What nobody waits for is answered when it is refused: a batch, perhaps at its first message alone.
                    perhaps_no_more = perhaps_no_more or sequence not in waiting
                    waiting.discard(sequence)
            perhaps_no_more = perhaps_no_more or not packet
            if perhaps_no_more and not self._more():
                errors.update(dict.fromkeys(waiting, errno.ENOBUFS))
                break
        return errors, bodies

    def _packet(self) -> bytes:
        """Of answers; empty where some were lost, since the socket had no room for them: it has again when all is read."""
        try:
            return self._socket.recv(_ANSWER_BYTES)
        except BlockingIOError as error:
            raise TimeoutError(errno.ETIMEDOUT, "the kernel does not answer") from error
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return b""

    def _more(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))
