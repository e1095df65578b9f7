"""What of a sandbox can be reached from outside, and how it is written: `8080`, `"53/udp"`, `"/run/it.sock"`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from lxsandbox.errors import SpecError

__all__ = ["Protocol", "Target", "check_host_port", "check_port", "parse_ports", "parse_target", "target_of"]

Protocol = Literal["tcp", "udp"]
_PROTOCOLS = ("tcp", "udp")
_MOST = 65535
_LONGEST_PATH = 4095


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A port of a protocol, or, with `path`, a unix socket. As text it is what `parse_target` reads."""

    protocol: Protocol = "tcp"
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or f"{self.port}/{self.protocol}"


def check_port(port: object) -> int:
    """The number. Raises SpecError for what is no port."""
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= _MOST:
        raise SpecError(f"port={port!r} is not a port", hint=f"a port is a whole number from 1 to {_MOST}")
    return port


def check_host_port(port: object, target: Target) -> int | None:
    """A port of the host, or None for a free one. Raises SpecError."""
    if port is None:
        return None
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= _MOST:
        raise SpecError(
            f"ports={{'{target}': {port!r}}} names no port of the host",
            hint=f"write a whole number from 1 to {_MOST}, or None for a free one",
        )
    return port


def target_of(port: object, protocol: Protocol = "tcp") -> Target:
    """What `address(port, protocol)` is asked for: a port, or the absolute path of a unix socket. Raises SpecError."""
    if protocol not in _PROTOCOLS:
        raise SpecError(f"protocol={protocol!r} is unknown", hint='use "tcp" or "udp"')
    if isinstance(port, str) and port.startswith("/"):
        if protocol != "tcp":
            raise SpecError(f"the unix socket {port!r} has no {protocol}", hint="leave the protocol out")
        if "\0" in port or len(port) > _LONGEST_PATH:
            raise SpecError(
                f"port={port[:40]!r} is not a path", hint=f"a path is {_LONGEST_PATH} characters at most, with no NUL"
            )
        return Target(path=port)
    return Target(protocol=protocol, port=check_port(port))


def parse_target(text: object) -> Target:
    """A port as a number or as text, `"53/udp"`, or the absolute path of a unix socket. Raises SpecError."""
    if isinstance(text, str) and (match := re.fullmatch(r"([0-9]{1,5})(?:/(tcp|udp))?", text, re.ASCII)):
        return target_of(int(match[1]), "udp" if match[2] == "udp" else "tcp")
    if isinstance(text, str) and not text.startswith("/"):
        raise SpecError(f"{text!r} is not a port", hint='write 8080, "53/udp", or the absolute path of a unix socket')
    return target_of(text)


def parse_ports(ports: object) -> dict[str, int | None]:
    """The field `ports`: which port of the host leads to each, None for a free one. Keys are `str(Target)`.

    `{8080: 8080, "53/udp": None}`, or a list of what is to be had at free ports. Raises SpecError.
    """
    if isinstance(ports, Mapping):
        pairs = [*dict[Any, Any](cast(Any, ports)).items()]
    elif isinstance(ports, Sequence) and not isinstance(ports, str | bytes):
        pairs = [(port, None) for port in list[Any](cast(Any, ports))]
    else:
        raise SpecError(f"ports={ports!r} is neither a mapping nor a list", hint="write ports={8080: 8080} or ports=[8080]")
    found: dict[str, int | None] = {}
    taken: dict[tuple[str, int], Target] = {}
    for port, host_port in pairs:
        target = _key(port)
        if str(target) in found:
            raise SpecError(f"ports names {target} twice")
        number = found[str(target)] = check_host_port(host_port, target)
        if number is not None and (other := taken.setdefault((target.protocol, number), target)) is not target:
            raise SpecError(f"ports gives port {number} of the host to both {other} and {target}")
    return found


def _key(port: object) -> Target:
    try:
        return parse_target(port)
    except SpecError as error:
        raise SpecError(f"ports holds {port!r}: {error.message}", hint=error.hint) from None
