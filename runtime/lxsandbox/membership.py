"""What a spec says of networks: their names, and the names that a sandbox has in them. Checked here, below the spec."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from lxsandbox.errors import SpecError

__all__ = ["GENERATED", "HOST_NAME", "check_aliases", "check_network_name", "network_names"]

# hostname(7) and RFC 1123: labels of letters, digits and hyphens; the kernel's own bound is 64 bytes.
HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
GENERATED = "network-"
"""What the names of networks begin with that were given none; by such a name none is made."""

_NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MOST_NETWORKS = 32
_MOST_ALIASES = 64
_ALIAS_CHARACTERS = 253  # RFC 1035 2.3.4, without the length bytes of the first label and the root


def check_network_name(name: Any, *, what: str = "name") -> str:
    """Raises SpecError for what can be no network's name."""
    if not isinstance(name, str) or not _NETWORK_NAME.fullmatch(name):
        raise SpecError(f"{what}={name!r} is not the name of a network", hint="letters, digits, '-', '_' and '.', 64 at most")
    return name


def network_names(networks: Any) -> tuple[str, ...]:
    """The names of networks, each given by name or as what has it as `name`. Raises SpecError."""
    given = _list(networks, "networks", _MOST_NETWORKS)
    names = tuple(check_network_name(getattr(each, "name", each), what="networks") for each in given)
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"networks holds {name!r} twice", hint="a sandbox has one link to a network")
    return names


def check_aliases(aliases: Any) -> tuple[str, ...]:
    """Raises SpecError for an alias that is no host name."""
    given = _list(aliases, "aliases", _MOST_ALIASES)
    for alias in given:
        if not isinstance(alias, str) or len(alias) > _ALIAS_CHARACTERS or not HOST_NAME.fullmatch(alias):
            raise SpecError(
                f"aliases holds {alias!r}, which is not a host name", hint="letters, digits, '-' and '.', see hostname(7)"
            )
    return tuple(given)


def _list(value: Any, what: str, at_most: int) -> list[Any]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise SpecError(f"{what}={value!r} is not a list", hint=f'write {what}=["…"]')
    given = list[Any](cast(Any, value))
    if len(given) > at_most:
        raise SpecError(f"{what} holds {len(given)} names, and {at_most} at most make sense")
    return given
