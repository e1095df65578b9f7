"""How a connection into a sandbox is made: its loopback, IPv4 before IPv6, and then the addresses of its own networks."""

import errno
import fcntl
import socket
import struct

from lxsandbox.forwarder.inside import Inside
from lxsandbox.forwarder.loop import OUT

TYPE_CHECKING = False  # typing would be most of what this process loads
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LOOPBACKS", "Attempts", "own_addresses"]

Address = tuple[int, str]
LOOPBACKS: tuple[Address, ...] = ((int(socket.AF_INET), "127.0.0.1"), (int(socket.AF_INET6), "::1"))
_STREAM = int(socket.SOCK_STREAM)
_SIOCGIFCONF, _IFREQ_BYTES, _MOST_INTERFACES = 0x8912, 40, 64  # netdevice(7)


class Attempts:
    """Addresses of one sandbox, tried one after another until one takes the connection.

    `then` gets the connected socket and the address, or None where nobody listens or the sandbox has ended.
    """

    def __init__(
        self,
        inside: Inside,
        addresses: "tuple[Address, ...]",
        port: int,
        then: "Callable[[socket.socket | None, Address], None]",
    ) -> None:
        self._inside = inside
        self._addresses = list(addresses)
        self._port = port
        self._then = then
        self._at = 0
        self._more = True  # its own addresses have not been asked for yet
        self._waiting: socket.socket | None = None
        self._next()

    def _next(self) -> None:
        self._inside.take(self._addresses[self._at][0], _STREAM, self._try)

    def _try(self, sock: "socket.socket | None") -> None:
        if sock is None:
            self._then(None, self._addresses[self._at])
            return
        address = (self._addresses[self._at][1], self._port)
        code = sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            # Over loopback the answer is there already: it came while this call still held the socket.
            code = sock.connect_ex(address)
        if code not in (errno.EALREADY, errno.EINPROGRESS):
            self._tried(sock, code)
            return
        self._waiting = sock
        self._inside.dependents.add(self)
        self._inside.loop.add(sock.fileno(), OUT, self._settled)

    def _settled(self, _: int) -> None:
        """The backlog was full, or it is far away, and now the answer has come."""
        sock = self._stop_waiting()
        self._tried(sock, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _stop_waiting(self) -> socket.socket:
        sock, self._waiting = self._waiting, None
        assert sock is not None
        self._inside.dependents.discard(self)
        self._inside.loop.forget(sock)
        return sock

    def _tried(self, sock: socket.socket, code: int) -> None:
        if code in (0, errno.EISCONN):
            self._then(sock, self._addresses[self._at])
            return
        self._at += 1
        if self._at == len(self._addresses) and self._more:
            self._more = False
            self._addresses += [(int(socket.AF_INET), text) for text in own_addresses(sock)]
        sock.close()
        if self._at < len(self._addresses):
            self._next()
        else:
            self._then(None, self._addresses[-1])

    def reset(self) -> None:
        """The sandbox has ended."""
        self._stop_waiting().close()
        self._then(None, self._addresses[self._at])


def own_addresses(sock: socket.socket) -> list[str]:
    """The IPv4 addresses of the sandbox that the socket is of, but loopback: by SIOCGIFCONF, see netdevice(7)."""
    import ctypes  # here: most sandboxes have none, or nobody comes this far

    space = bytearray(_IFREQ_BYTES * _MOST_INTERFACES)
    pointer = ctypes.addressof((ctypes.c_char * len(space)).from_buffer(space))
    try:
        filled = fcntl.ioctl(sock.fileno(), _SIOCGIFCONF, struct.pack("iP", len(space), pointer))
    except OSError:
        return []
    length: int = struct.unpack("iP", filled)[0]
    found = [socket.inet_ntoa(space[at + 20 : at + 24]) for at in range(0, length, _IFREQ_BYTES)]
    return [text for text in found if not text.startswith("127.")]
