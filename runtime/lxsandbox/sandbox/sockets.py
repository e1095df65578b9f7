"""Sockets in a sandbox's own network, connected from here: init opens them there and passes them out."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from lxsandbox.ports import target_of

if TYPE_CHECKING:
    from lxsandbox.sandbox.control import Control

__all__ = ["connect_port"]

_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def connect_port(control: Control, port: object, timeout: float | None) -> socket.socket:
    """A TCP connection to `port` on the sandbox's loopback, IPv4 before IPv6, or to the unix socket of that absolute path.

    `timeout` seconds stay set on it. Raises ConnectionRefusedError where nothing listens, TimeoutError, and SpecError for what
    is neither a port nor such a path.
    """
    target = target_of(port)
    if target.path:
        return _connect_unix(control, target.path, timeout)
    for family, address in _LOOPBACKS:
        try:
            return _connect(control, family, (address, target.port), timeout)
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


def _connect_unix(control: Control, path: str, timeout: float | None) -> socket.socket:
    try:
        sock = socket.socket(fileno=control.request_fd("connect", path=path))
    except OSError as error:
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT, errno.EAGAIN):
            raise ConnectionRefusedError(f"nothing takes connections at {path} in sandbox {control.name}") from error
        raise
    sock.settimeout(timeout)
    return sock
