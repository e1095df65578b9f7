"""The fields of an image's configuration, one function for each form: the value, or an ImageError that names the field.

Everywhere null is the same as nothing (image-spec, config.md, "Properties"). What is shown of a wrong value is cut by reprlib,
which does not follow it to its depth.
"""

from __future__ import annotations

import re
import reprlib
import signal
from collections.abc import Mapping, Sequence
from typing import Any, cast

from lxsandbox.errors import ImageError
from lxsandbox.images.digests import check_digest
from lxsandbox.images.documents import Platform, as_object

__all__ = [
    "absolute_path", "count", "diff_ids", "env", "flag", "health_test", "items", "labels", "platform", "ports", "seconds",
    "stop_signal", "text", "texts", "time", "user", "volumes",
]  # fmt: skip

_MOST_ITEMS = 4096
_MOST_LAYERS = 500  # overlayfs takes no more lower folders (OVL_MAX_STACK)
_LONGEST_TEXT = (128 << 10) - 1  # execve(2): the longest argument and the longest variable, without its NUL
_LONGEST_PATH = 4095  # PATH_MAX, without its NUL
_MOST_NANOSECONDS = 1 << 53  # 104 days: as long as a float of seconds tells nanoseconds apart
_MOST_COUNT = 1 << 31

_PLATFORM_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_USER = re.compile(r"[^\s:/\x00-\x1f\x7f]{1,256}(:[^\s:/\x00-\x1f\x7f]{1,256})?")
_PORT = re.compile(r"([0-9]{1,5})(?:/(tcp|udp|sctp))?", re.IGNORECASE)
# RFC 3339, section 5.6
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,18})?([Zz]|[+-][0-9]{2}:[0-9]{2})")
_REALTIME_SIGNAL = re.compile(r"RTMIN(\+([0-9]{1,2}))?|RTMAX(-([0-9]{1,2}))?")
_REALTIME_SPAN = signal.SIGRTMAX - signal.SIGRTMIN


def text(data: object, what: str) -> str:
    """Text that can be an argument, a variable or a path; empty where nothing is."""
    if data is None:
        return ""
    if not isinstance(data, str) or "\0" in data:
        raise ImageError(f"{what} {reprlib.repr(data)} is no text")
    if len(data) > _LONGEST_TEXT:
        raise ImageError(f"{what} is {len(data)} characters long, and {_LONGEST_TEXT} is the most")
    if not _is_unicode(data):
        raise ImageError(f"{what} {reprlib.repr(data)} is not valid Unicode")
    return data


def items(data: object, what: str) -> Sequence[object]:
    """A list of anything."""
    if data is None:
        return ()
    if not isinstance(data, list):
        raise ImageError(f"{what} is no list")
    return cast("list[object]", _few(data, what))


def texts(data: object, what: str) -> tuple[str, ...]:
    """A list of texts."""
    return tuple(_required_text(each, f"{what}: entry {n}") for n, each in enumerate(items(data, what)))


def flag(data: object, what: str) -> bool:
    """True or false."""
    if data is None:
        return False
    if not isinstance(data, bool):
        raise ImageError(f"{what} {reprlib.repr(data)} is neither true nor false")
    return data


def count(data: object, what: str) -> int:
    """A number of times; 0 where nothing is."""
    return _whole_number(data, what, most=_MOST_COUNT)


def seconds(data: object, what: str) -> float:
    """A duration, given in nanoseconds; 0 where nothing is."""
    return _whole_number(data, what, most=_MOST_NANOSECONDS) / 1_000_000_000


def time(data: object, what: str) -> str:
    """A date with its time."""
    given = text(data, what)
    if given and not _TIME.fullmatch(given):
        raise ImageError(f"{what} {given!r:.100} is no time", hint="it is written 2015-10-31T22:22:56Z (RFC 3339)")
    return given


def platform(given: Mapping[str, Any], what: str) -> Platform:
    """The platform; `os` and `architecture` must be there."""
    words = {name: text(given.get(name), f"{what}: {name}") for name in ("os", "architecture", "variant")}
    for name, word in words.items():
        if not _PLATFORM_WORD.fullmatch(word) and (word or name != "variant"):
            raise ImageError(f"{what}: {name} {word!r:.100} is none", hint="this is perhaps no image, but something else")
    return Platform(**words)


def env(data: object, what: str) -> dict[str, str]:
    """Variables, from a list of NAME=VALUE; of two with one name the later counts."""
    variables: dict[str, str] = {}
    for variable in texts(data, what):
        name, equals, value = variable.partition("=")
        if not name or not equals:
            raise ImageError(f"{what}: {variable!r:.100} is not NAME=VALUE")
        variables[name] = value
    return variables


def labels(data: object, what: str) -> dict[str, str]:
    """Names and their values."""
    return {_key(name, what): _required_text(value, f"{what}: {name!r:.100}") for name, value in _map(data, what).items()}


def user(data: object, what: str) -> str:
    """A user and perhaps a group, by name or number. Whether there is such a user, the image's /etc/passwd says."""
    given = text(data, what)
    if given and not _USER.fullmatch(given):
        raise ImageError(f"{what} {given!r:.100} is no user", hint="it is written user, uid, user:group, uid:gid and so on")
    return given


def absolute_path(data: object, what: str) -> str:
    """An absolute path; empty where nothing is."""
    given = text(data, what)
    if given and (not given.startswith("/") or len(given.encode()) > _LONGEST_PATH):
        raise ImageError(f"{what} {given!r:.100} is not an absolute path")
    return given


def volumes(data: object, what: str) -> tuple[str, ...]:
    """Folders, each to be a mount, sorted."""
    paths = sorted(absolute_path(_key(path, what), f"{what}:") for path in _map(data, what))
    for path in paths:
        if ".." in path.split("/") or not path.strip("/."):
            raise ImageError(f"{what}: {path!r:.100} is no folder below the root")
    return tuple(paths)


def ports(data: object, what: str) -> tuple[str, ...]:
    """Ports as `80/tcp`, by number."""
    found: set[tuple[int, str]] = set()
    for port in _map(data, what):
        match = _PORT.fullmatch(port)
        if match is None or not 0 < int(match[1]) < 1 << 16:
            raise ImageError(f"{what}: {port!r:.100} is no port", hint="it is written 80, 80/tcp, 53/udp")
        found.add((int(match[1]), (match[2] or "tcp").lower()))
    return tuple(f"{number}/{protocol}" for number, protocol in sorted(found))


def stop_signal(data: object, what: str) -> str:
    """A signal: a number, or a name with or without SIG; of the real-time ones also SIGRTMIN+3."""
    given = text(data, what)
    if given and not _is_signal(given.upper()):
        raise ImageError(f"{what} {given!r:.100} is no signal", hint="it is written SIGTERM, TERM, 15, SIGRTMIN+3")
    return given


def health_test(data: object, what: str) -> tuple[str, ...]:
    """A command by which to test, in one of the forms that Docker's specification has; empty where nothing is."""
    match test := texts(data, what):
        case () | ("NONE",) | ("CMD", _, *_) | ("CMD-SHELL", _):
            return test
        case _:
            shown = ", ".join(test)
            raise ImageError(f"{what} {shown!r:.100} is none", hint="it is [NONE], [CMD, argument, …] or [CMD-SHELL, command]")


def diff_ids(rootfs: Mapping[str, Any], what: str) -> tuple[str, ...]:
    """The digests of the uncompressed layers."""
    if rootfs.get("type") != "layers":
        raise ImageError(f"{what}: type {reprlib.repr(rootfs.get('type'))} is not known", hint="an image is made of layers")
    if rootfs.get("diff_ids") is None:
        raise ImageError(f"{what}: diff_ids is missing")
    given = items(rootfs.get("diff_ids"), f"{what}: diff_ids")
    if len(given) > _MOST_LAYERS:
        raise ImageError(f"{what}: diff_ids has {len(given)} entries, and overlayfs stacks {_MOST_LAYERS}")
    return tuple(_diff_id(each, f"{what}: diff_ids: entry {n}") for n, each in enumerate(given))


def _diff_id(data: object, what: str) -> str:
    digest = check_digest(data, what=what)
    if not digest.startswith("sha256:"):
        raise ImageError(f"{what} {digest!r:.100} is not of sha256", hint="image-spec, config.md, has no other diff_ids")
    return digest


def _required_text(data: object, what: str) -> str:
    if data is None:
        raise ImageError(f"{what} is null and no text")
    return text(data, what)


def _key(name: str, what: str) -> str:
    if not name:
        raise ImageError(f"{what} has an entry without a name")
    return text(name, f"{what}: name")


def _map(data: object, what: str) -> dict[str, Any]:
    return {} if data is None else _few(as_object(data, what), what)


def _few(data: Any, what: str) -> Any:
    if len(data) > _MOST_ITEMS:
        raise ImageError(f"{what} has {len(data)} entries, and {_MOST_ITEMS} is the most")
    return data


def _whole_number(data: object, what: str, *, most: int) -> int:
    if data is None:
        return 0
    if not isinstance(data, int) or isinstance(data, bool) or not 0 <= data <= most:
        raise ImageError(f"{what} {reprlib.repr(data)} is not a number from 0 to {most}")
    return data


def _is_unicode(data: str) -> bool:
    # JSON can spell half a surrogate pair, which no bytes stand for.
    try:
        data.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_signal(name: str) -> bool:
    if name.isascii() and name.isdigit():
        return len(name) < 4 and 0 < int(name) <= signal.SIGRTMAX
    name = name.removeprefix("SIG")
    if match := _REALTIME_SIGNAL.fullmatch(name):
        return int(match[2] or match[4] or 0) <= _REALTIME_SPAN
    return f"SIG{name}" in signal.Signals.__members__
