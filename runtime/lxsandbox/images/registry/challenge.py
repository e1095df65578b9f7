"""The WWW-Authenticate header: what login a registry asks for.

Source: RFC 9110 11.3 and 11.6.1; distribution's token-auth spec for the parameters of Bearer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Challenge", "parse_challenges"]

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*')
_SCHEME = re.compile(rf"\s*({_TOKEN})(?=\s|,|$)\s*")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*\s*(?=,|$)")
_COMMAS = re.compile(r"[\s,]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Challenge:
    """One way to log in. The scheme (`basic`, `bearer`) and the names of the parameters are in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(text: str) -> list[Challenge]:
    """The challenges in a header, several headers being joined by commas. Reading ends where it makes no sense any more."""
    found: list[Challenge] = []
    at = _skip_commas(text, 0)
    while scheme := _SCHEME.match(text, at):
        parameters, at = _parameters(text, scheme.end())
        found.append(Challenge(scheme=scheme[1].lower(), parameters=parameters))
    return found


def _parameters(text: str, at: int) -> tuple[dict[str, str], int]:
    found: dict[str, str] = {}
    if alone := _TOKEN68.match(text, at):
        at = alone.end()
    while True:
        at = _skip_commas(text, at)
        parameter = _PARAMETER.match(text, at)
        if parameter is None:
            return found, at
        quoted, plain = parameter[2], parameter[3]
        found.setdefault(parameter[1].lower(), plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        at = parameter.end()


def _skip_commas(text: str, at: int) -> int:
    match = _COMMAS.match(text, at)
    return at if match is None else match.end()
