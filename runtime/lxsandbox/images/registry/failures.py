"""What a registry refused or failed at, as errors that name the registry, the repository and the cause."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

from lxsandbox.errors import ImageError

__all__ = ["RegistryError", "Stopped", "Subject", "printable", "refusal"]

_LONGEST_WORDS = 200
# RFC 9110: these may pass by themselves. 416 is the answer to a chunk at an offset that is not the registry's.
_TRANSIENT = frozenset({408, 416, 429, 500, 502, 503, 504})


class RegistryError(ImageError):
    """What a registry refused, or failed at. `status` is that of HTTP, None where no answer came.

    `transient`: the same may work a little later. `retry_after_seconds` is what the registry asked to wait for.
    """

    def __init__(
        self,
        subject: Subject,
        cause: str,
        *,
        hint: str = "",
        status: int | None = None,
        transient: bool = False,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{subject}: {cause}", hint=hint)
        self.registry = subject.registry
        self.repository = subject.repository
        self.cause = cause
        self.status = status
        self.transient = transient
        self.retry_after_seconds = retry_after_seconds

    @property
    def is_auth_refusal(self) -> bool:
        """Whether it wants another login, or denies this one."""
        return self.status in (401, 403)


class Stopped(Exception):
    """A transfer ends because another has failed, or the user has interrupted all of them; never seen by callers."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Where something went wrong, for the message."""

    registry: str
    repository: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}"

    def error(self, cause: str, *, hint: str = "", status: int | None = None, transient: bool = False) -> RegistryError:
        return RegistryError(self, cause, hint=hint, status=status, transient=transient)


def printable(text: str, *, at_most: int = _LONGEST_WORDS) -> str:
    """`text` on one line, of this many characters, with nothing in it that a terminal would obey."""
    one_line = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(one_line.split())[:at_most]


def refusal(subject: Subject, what: str, status: int, headers: Mapping[str, str], body: bytes) -> RegistryError:
    """The error for an answer with `status` to the request for `what`, with the registry's own words for it."""
    phrase, hint = _meaning(subject, status)
    words = _words(body)
    return RegistryError(
        subject,
        f"{what}: {phrase} ({status}{': ' if words else ''}{words})",
        hint=hint,
        status=status,
        transient=status in _TRANSIENT,
        retry_after_seconds=_retry_after(headers.get("Retry-After", "")),
    )


def _meaning(subject: Subject, status: int) -> tuple[str, str]:
    login = f"`docker login {subject.registry}` or `podman login {subject.registry}` keeps a login where it is found"
    match status:
        case 401:
            return "the registry wants a login, or another one", f"{login}; many registries say the same of a wrong name"
        case 403:
            return "this login may not do that", f"{login}; or ask the owner of {subject.repository} for access"
        case 404:
            return "the registry has no such thing", "see whether the name and the tag are right"
        case 429:
            return "the registry's rate limit is reached", f"wait, or log in for a higher limit: {login}"
        case _ if status >= 500:
            return "the registry has failed", "try again later; what has been fetched is taken up"
        case _:
            return "the registry refused", ""


def _words(body: bytes) -> str:
    # distribution-spec, "Error Codes": {"errors": [{"code": …, "message": …, "detail": …}]}. Anything else is quoted as it is.
    try:
        errors = cast("dict[str, Any]", json.loads(body))["errors"]
        text = "; ".join(str(error.get("message") or error.get("code") or "") for error in errors)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        text = body.decode(errors="replace")
    return printable(text)


def _retry_after(text: str) -> float | None:
    """RFC 9110 10.2.3: seconds, or a date. What is neither is as if it were not there."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
