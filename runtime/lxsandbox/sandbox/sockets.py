"""Sockets in a sandbox's own network, connected from here: init opens them there and passes them out."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from lxsandbox.errors import SpecError

if TYPE_CHECKING:
    from lxsandbox.sandbox.control import Control

__all__ = ["connect_port"]

_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def connect_port(control: Control, port: object, timeout: float | None) -> socket.socket:
    """A TCP connection to `port` on the sandbox's loopback, IPv4 before IPv6; `timeout` seconds stay set on it.

    Raises ConnectionRefusedError where nothing listens, TimeoutError, and SpecError for a number that is no port.
    """
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
        raise SpecError(f"port={port!r} is not a port", hint="a port is a whole number from 1 to 65535")
    for family, address in _LOOPBACKS:
        try:
            return _connect(control, family, (address, port), timeout)
        except TimeoutError:
            raise
        except OSError:
            continue  # refused, or a kernel without this family
    raise ConnectionRefusedError(f"nothing listens on port {port} in sandbox {control.name}")


def _connect(control: Control, family: int, address: tuple[str, int], timeout: float | None) -> socket.socket:
    sock = socket.socket(fileno=control.request_fd("socket", family=int(family), type=int(socket.SOCK_STREAM)))
    try:
        sock.settimeout(timeout)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock
