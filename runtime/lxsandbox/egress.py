"""What a sandbox may reach outside: the field `egress` of a spec, read and checked.

An entry is a host name, `*.` and a domain, an address or a network, each with a port where it is not for all:
`example.org:443`, `*.example.org`, `10.0.0.0/8`, `[2001:db8::1]:53/udp`. A port is of TCP unless `/udp` follows.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from lxsandbox.errors import SpecError

__all__ = ["Allowance", "allowances", "check_egress"]

# RFC 1123, and the underscore that names of services have (RFC 2782).
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_PORT = re.compile(r"(?P<target>.*?)(:(?P<port>[^:\]]*?)(/(?P<protocol>[a-z]*))?)?", re.DOTALL)
_FORMS = 'write for example "example.org:443", "*.example.org", "10.0.0.0/8" or "[2001:db8::1]:53/udp"'
_MOST = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """What may be reached: either `name` or `network` is set. Without `port` all of it, else that one of `protocol`."""

    name: str = ""
    network: str = ""
    port: int | None = None
    protocol: str = "tcp"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def check_egress(egress: Any, network: str) -> None:
    """Raises SpecError for a value that `egress` cannot have in a sandbox with this `network`."""
    if isinstance(egress, bool):
        return
    if isinstance(egress, str | bytes) or not isinstance(egress, Sequence):
        raise SpecError(
            f"egress={egress!r} is neither True, False nor a list",
            hint='pass a list of what may be reached, as ["example.org:443"]',
        )
    entries = list[Any](cast(Any, egress))
    if len(entries) > _MOST:
        raise SpecError(
            f"egress has {len(entries)} entries, {_MOST} at most", hint="allow a network or a domain instead of its hosts"
        )
    allowances(entries)
    if network == "host" and entries:
        raise SpecError(
            'egress=[…] cannot be held with network="host"',
            hint='use network="isolated"; with "host", all of its network is there',
        )


def allowances(entries: Iterable[Any]) -> list[Allowance]:
    """The entries as values. Raises SpecError for one that cannot be read."""
    return [_allowance(entry) for entry in entries]


def _allowance(entry: Any) -> Allowance:
    if not isinstance(entry, str) or not entry or len(entry) > 300:
        raise SpecError(f"egress holds {entry!r}", hint=_FORMS)
    if _is_bare_ipv6(entry):
        return Allowance(network=_network(entry, entry))
    parts = _PORT.fullmatch(entry)
    assert parts is not None  # each of its parts may be empty
    target, port, protocol = parts["target"], parts["port"], parts["protocol"]
    if target.startswith("[") or target.replace(".", "").replace("/", "").isdigit():
        found = Allowance(network=_network(target.removeprefix("[").removesuffix("]"), entry))
    else:
        found = Allowance(name=_name(target, entry))
    if port is None:
        return found
    if protocol not in (None, "tcp", "udp"):
        raise SpecError(f"egress holds {entry!r}, whose protocol is unknown", hint="use tcp or udp")
    return replace(found, port=_port(port, entry), protocol=protocol or "tcp")


def _is_bare_ipv6(entry: str) -> bool:
    return not entry.startswith("[") and entry.count(":") > 1


def _name(text: str, entry: str) -> str:
    name = text.lower().removesuffix(".")
    if len(name) > 253 or not _NAME.fullmatch(name.removeprefix("*.")):
        raise SpecError(f"egress holds {entry!r}, which names no host", hint=_FORMS)
    if name == "localhost" or name.endswith(".localhost"):
        raise _own_loopback(entry)
    return name


def _network(text: str, entry: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise SpecError(f"egress holds {entry!r}: {error}", hint=_FORMS) from error
    if network.is_loopback or (network.network_address.is_unspecified and network.prefixlen == network.max_prefixlen):
        raise _own_loopback(entry)
    return str(network)


def _own_loopback(entry: str) -> SpecError:
    return SpecError(
        f"egress holds {entry!r}: loopback is each sandbox's own, and the host's is never reached from inside",
        hint="have the server listen on another address of the host, and allow that one",
    )


def _port(text: str, entry: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 0 < int(text) < 65536:
        raise SpecError(f"egress holds {entry!r}, whose port is not one", hint="a port is a whole number from 1 to 65535")
    return int(text)
