"""What users write as text, checked in one place: argument lists, environments, paths.

Each function returns its value in its plain form, and raises SpecError with how to write it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

from lxsandbox.errors import SpecError

__all__ = ["check_absolute", "check_args", "check_env", "check_path"]


def check_args(args: Any, *, what: str = "args") -> list[str]:
    """The argument list as text. Raises SpecError for a string (pass a list), an empty list, or a NUL inside."""
    if isinstance(args, str | bytes):
        raise SpecError(f"{what}={args!r} is a string", hint='pass a list, such as ["ls", "-l"]; for a shell, ["sh", "-c", "…"]')
    if not isinstance(args, Sequence) or not args:
        raise SpecError(f"{what}={args!r} is not a list of at least one argument", hint='pass a list, such as ["ls", "-l"]')
    texts = [_text(arg) for arg in list[Any](cast(Any, args))]
    for text in texts:
        if not isinstance(text, str) or "\0" in text:
            raise SpecError(f"{what} holds {text!r}", hint="each argument is text without NUL; convert numbers with str()")
    return texts


def _text(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        value = os.fspath(cast("os.PathLike[str]", value))
    return os.fsdecode(value) if isinstance(value, bytes) else value


def check_env(mapping: Any, *, what: str = "env") -> dict[str, str]:
    """The mapping as a dict. Raises SpecError for names or values that no environment can hold."""
    if not isinstance(mapping, Mapping):
        raise SpecError(f"{what}={mapping!r} is not a mapping", hint=f'write {what}={{"NAME": "value"}}')
    pairs = dict[Any, Any](cast(Any, mapping))
    for name, value in pairs.items():
        if not isinstance(name, str) or not isinstance(value, str) or not name or "=" in name or "\0" in name + value:
            raise SpecError(f"{what} holds {name!r}: {value!r}", hint="names and values are text without NUL; a name has no '='")
    return pairs


def check_path(value: Any, what: str) -> str:
    """The path as text, which may be relative."""
    text: Any = os.fspath(cast("os.PathLike[str]", value)) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text or "\0" in text or len(text) > 4095:
        raise SpecError(f"{what}={value!r} is not a path", hint="a path is 1 to 4095 characters, with no NUL")
    return text


def check_absolute(value: Any, what: str) -> str:
    """The absolute path of something below the root."""
    text = check_path(value, what)
    if not text.startswith("/") or ".." in text.split("/") or not text.strip("/."):
        raise SpecError(f"{what}={value!r} must be an absolute path below /, without '..'")
    return text
