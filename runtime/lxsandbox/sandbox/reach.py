"""The part of `Sandbox` that reaches what listens inside: addresses on this host, and sockets opened inside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lxsandbox.errors import SpecError
from lxsandbox.ports import Protocol, target_of
from lxsandbox.sandbox.sockets import connect_port

if TYPE_CHECKING:
    import socket

    from lxsandbox.sandbox.control import Control

__all__ = ["Reach"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")  # RFC 3986, 3.1


class Reach:
    """For `Sandbox` to derive from."""

    _control: Control

    def address(self, port: int | str, protocol: Protocol = "tcp") -> tuple[str, int]:
        """Where any client library on this host reaches `port` of the sandbox: `("127.0.0.1", number)`.

        `port` may be the absolute path of a unix socket inside. The address stays the same as long as the sandbox lives,
        through restart, pause and reset too, whether something listens inside or not; while nothing does, connections are
        reset. Connections end as they do inside: a half-close as a half-close, a reset as a reset. Raises SpecError.
        """
        answer = self._control.service("address", target=str(target_of(port, protocol)))
        return str(answer["host"]), int(answer["port"])

    def url(self, port: int | str, scheme: str = "http") -> str:
        """The same as text, `"http://127.0.0.1:number"`, for what is to be appended to. Raises SpecError."""
        if not isinstance(scheme, str) or not _SCHEME.fullmatch(scheme):
            raise SpecError(f"scheme={scheme!r} is none of a URL", hint='write for example "http" or "postgresql"')
        host, number = self.address(port)
        return f"{scheme}://{host}:{number}"

    def connect(self, port: int | str, *, timeout: float | None = 10) -> socket.socket:
        """A TCP connection to `port` on the sandbox's loopback, or a stream to the unix socket of that absolute path.

        There is nothing in between. Raises ConnectionRefusedError, TimeoutError, SpecError.
        """
        return connect_port(self._control, port, timeout)
