"""What can be waited for in a sandbox: frozen values, checked when made, combined with `&` and `|`, and their form on the wire.

How each is looked at is the service's business.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, NoReturn, cast

from lxsandbox.arguments import check_absolute, check_args, check_env
from lxsandbox.errors import SpecError

__all__ = [
    "READY_SECONDS", "All", "AnyOf", "Command", "Condition", "File", "Healthy", "Http", "Log", "Port",
    "check_condition", "condition_from_json",
]  # fmt: skip

READY_SECONDS = 30.0
"""How long `SandboxSpec.ready` may take to come true, and what `wait_until` waits where nothing else is said."""

_EXAMPLE = 'write for example Port(5432), or Port(5432) & Log(r"ready to accept")'
_STATUSES = 500  # 100 to 599
# RFC 9110: a method and the name of a field are tokens.
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class Condition:
    """Base class of everything that can be waited for. `a & b` holds when each has held once, `a | b` when the first does."""

    __slots__ = ()

    def __and__(self, other: object) -> All:
        return All((*_parts(self, All), *_parts(other, All))) if isinstance(other, Condition) else NotImplemented

    def __or__(self, other: object) -> AnyOf:
        return AnyOf((*_parts(self, AnyOf), *_parts(other, AnyOf))) if isinstance(other, Condition) else NotImplemented

    def __bool__(self) -> NoReturn:
        raise SpecError(
            f"{self!r} is neither true nor false", hint="combine conditions with & and |; wait for one with wait_until()"
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data for the wire; `condition_from_json` reads it back."""
        raise NotImplementedError


class _Written(Condition):
    """One that is no combination: it is shown as it is written, and travels by its fields."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = [
            f"{each.name}={value!r}" if each.kw_only else repr(value)
            for each in fields(cast(Any, self))
            if (value := getattr(self, each.name)) != _default(each)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def as_json(self) -> dict[str, Any]:
        return {"kind": type(self).__name__, **{each.name: getattr(self, each.name) for each in fields(cast(Any, self))}}


@dataclass(frozen=True, slots=True, repr=False)
class Port(_Written):
    """Something in the sandbox listens on this TCP port, at whatever address, IPv4 or IPv6.

    It is seen in the kernel's own list: nothing connects, so no server is disturbed. With `network="host"` the list is the
    host's, and a server outside of the sandbox counts too.
    """

    port: int

    def __post_init__(self) -> None:
        _check_port("Port", self.port)


@dataclass(frozen=True, slots=True, repr=False)
class Http(_Written):
    """A server in the sandbox answers a request as it should; it is asked over loopback, on IPv4 before IPv6.

    `status`: the code that it answers with, or a range or list of those that will do; by default 200 to 399. `contains`: text
    that must stand in the first MiB of the body.
    """

    port: int
    path: str = "/"
    status: int | range | Sequence[int] = field(default=range(200, 400), kw_only=True)
    method: str = field(default="GET", kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], kw_only=True, hash=False)
    contains: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_port("Http", self.port)
        if not isinstance(self.path, str) or not re.fullmatch(r"/[!-~]*", self.path):
            raise SpecError(
                f"Http path={self.path!r} is not a path of a URL", hint='it begins with "/"; quote what is not plain ASCII by %XX'
            )
        if not isinstance(self.method, str) or not _TOKEN.fullmatch(self.method):
            raise SpecError(f"Http method={self.method!r} is not a method", hint='write for example "GET" or "HEAD"')
        object.__setattr__(self, "status", _checked_status(self.status))
        object.__setattr__(self, "headers", _checked_headers(self.headers))
        _check_contains("Http", self.contains)

    def accepts(self, status: int) -> bool:
        """Whether an answer with this status will do."""
        return status == self.status if isinstance(self.status, int) else status in self.status

    def as_json(self) -> dict[str, Any]:
        status = self.status
        return _Written.as_json(self) | {"status": [status.start, status.stop, "range"] if isinstance(status, range) else status}


@dataclass(frozen=True, slots=True, repr=False)
class Log(_Written):
    """The main command has printed `count` lines in which the regular expression `pattern` is found.

    Each line is looked at for itself, without its end, and at most its last 64 KiB. Lines printed before count too, as far
    as `logs()` still has them. A line that is not complete counts once nothing more of it has come for a moment: a prompt.
    """

    pattern: str
    count: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str) or not self.pattern:
            raise SpecError(f"Log pattern={self.pattern!r} is not a regular expression", hint='write for example Log(r"ready")')
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise SpecError(
                f"Log pattern={self.pattern!r} is not a regular expression: {error}", hint="for plain text use re.escape()"
            ) from error
        if isinstance(self.count, bool) or not isinstance(self.count, int) or not 0 < self.count <= 1_000_000:
            raise SpecError(f"Log count={self.count!r} is not a whole number above 0")


@dataclass(frozen=True, slots=True, repr=False)
class Command(_Written):
    """The command exits with code 0 inside; it is run again and again until it does, with `user` and `env` as `run` has them.

    One that does not exist there fails the wait at once.
    """

    args: Sequence[str] = field(hash=False)
    user: str | int | None = field(default=None, kw_only=True)
    env: Mapping[str, str] | None = field(default=None, kw_only=True, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "args", check_args(self.args, what="Command args"))
        if self.env is not None:
            object.__setattr__(self, "env", check_env(self.env, what="Command env"))
        if self.user is not None and (isinstance(self.user, bool) or not isinstance(self.user, str | int) or self.user == ""):
            raise SpecError(f"Command user={self.user!r} is not a user", hint='write a name, a uid, or "user:group"')


@dataclass(frozen=True, slots=True, repr=False)
class File(_Written):
    """There is something at this absolute path inside; with `contains`, a regular file with that text in its first MiB."""

    path: str
    contains: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", check_absolute(self.path, "File path"))
        _check_contains("File", self.contains)


@dataclass(frozen=True, slots=True, repr=False)
class Healthy(_Written):
    """The image's own HEALTHCHECK succeeds: it is run at once, and then at short intervals, each time within its time-out.

    How often it may fail before a container counts as unhealthy is not looked at. Where the image has none the wait fails.
    """


@dataclass(frozen=True, slots=True, repr=False)
class All(Condition):
    """Each of `parts` has held once since the wait began. Written with `&`."""

    parts: tuple[Condition, ...]

    def __repr__(self) -> str:
        return " & ".join(f"({part!r})" if isinstance(part, AnyOf) else repr(part) for part in self.parts)

    def as_json(self) -> dict[str, Any]:
        return {"kind": "All", "parts": [part.as_json() for part in self.parts]}


@dataclass(frozen=True, slots=True, repr=False)
class AnyOf(Condition):
    """One of `parts` holds. Written with `|`."""

    parts: tuple[Condition, ...]

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.parts))

    def as_json(self) -> dict[str, Any]:
        return {"kind": "AnyOf", "parts": [part.as_json() for part in self.parts]}


_COMBINED: dict[str, type[All | AnyOf]] = {"All": All, "AnyOf": AnyOf}
_SINGLE: dict[str, type[Condition]] = {kind.__name__: kind for kind in (Port, Http, Log, Command, File, Healthy)}


def condition_from_json(data: Mapping[str, Any]) -> Condition:
    """What `as_json` of a condition has become on its way. Raises SpecError."""
    given = dict(data)
    kind = str(given.pop("kind", ""))
    if kind in _COMBINED:
        return _COMBINED[kind](tuple(condition_from_json(part) for part in given["parts"]))
    if kind not in _SINGLE:
        raise SpecError(f"there is no condition {kind!r}")
    if kind == "Http" and isinstance(given["status"], list) and "range" in given["status"]:
        start, stop, _ = cast("list[int]", given["status"])
        given["status"] = range(start, stop)
    return _SINGLE[kind](**given)


def check_condition(value: Any, *, what: str) -> Condition:
    """The condition. Raises SpecError for anything else."""
    if isinstance(value, type) and issubclass(value, Condition):
        raise SpecError(f"{what}={value.__name__} is a class", hint=f"write {value.__name__}(…)")
    if not isinstance(value, Condition):
        raise SpecError(f"{what}={value!r} is not a condition", hint=_EXAMPLE)
    return value


def _parts(condition: Condition, kind: type[All | AnyOf]) -> tuple[Condition, ...]:
    return condition.parts if isinstance(condition, All | AnyOf) and isinstance(condition, kind) else (condition,)


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _check_port(what: str, port: Any) -> None:
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise SpecError(f"{what} port={port!r} is not a port", hint="a port is a whole number from 1 to 65535")


def _check_contains(what: str, text: Any) -> None:
    if text is not None and (not isinstance(text, str) or not text):
        raise SpecError(f"{what} contains={text!r} is not text", hint="leave it out where any content will do")


def _checked_status(status: Any) -> int | range | tuple[int, ...]:
    several = list[Any](cast(Any, status)) if isinstance(status, Collection) and len(cast(Any, status)) <= _STATUSES else []
    codes: list[Any] = [status] if isinstance(status, int) else several
    if not codes or not all(isinstance(code, int) and not isinstance(code, bool) and 100 <= code <= 599 for code in codes):
        raise SpecError(f"Http status={status!r} is no status", hint="write 204, [200, 404] or range(200, 300)")
    if isinstance(status, range):
        return range(min(codes), max(codes) + 1) if status.step == 1 else tuple(codes)
    return int(status) if isinstance(status, int) else tuple(codes)


def _checked_headers(headers: Any) -> dict[str, str]:
    pairs = check_env(headers, what="Http headers")
    for name, value in pairs.items():
        if not _TOKEN.fullmatch(name) or not re.fullmatch(r"[\t -~\x80-\xff]*", value):
            raise SpecError(f"Http headers holds {name!r}: {value!r}", hint="a header is one line of Latin-1 text")
    return pairs
