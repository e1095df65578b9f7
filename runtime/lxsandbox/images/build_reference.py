"""References to what a Containerfile builds: the folder, and where they are not the usual ones, the file, stage and arguments."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote

from lxsandbox.errors import ImageError
from lxsandbox.images.path_references import below

__all__ = ["BuildReference", "parse_build"]

_PLAIN = "/:=,@+ "  # what may stand as it is
_OPTIONS = ("arg", "file", "target")
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildReference:
    """What is built from the folder, or by the Containerfile, at the absolute `path`.

    `file` is another Containerfile, absolute; `target` the stage to build, where it is not the last one; `args` are the build
    arguments, as `NAME=VALUE`. Raises ImageError for what can be none.
    """

    transport: Literal["build"] = field(default="build", init=False)

    path: str
    file: str = ""
    target: str = ""
    args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for path in filter(None, (self.path, self.file)):
            if not path.startswith("/") or "\0" in path or path != below("/", path):
                raise ImageError(f"path {path!r:.200} is not absolute, or not in its shortest form")
        if not self.path:
            raise ImageError("it names no path", hint="write build:DIR")
        for argument in self.args:
            if not _ARGUMENT.fullmatch(argument) or "\0" in argument:
                raise ImageError(f"build argument {argument!r:.100} is not NAME=VALUE")
        latest = {argument.partition("=")[0]: argument for argument in self.args}
        object.__setattr__(self, "args", tuple(sorted(latest.values())))

    @property
    def arguments(self) -> dict[str, str]:
        """The build arguments by name."""
        return {name: value for name, _, value in (argument.partition("=") for argument in self.args)}

    def __str__(self) -> str:
        options = [("arg", argument) for argument in self.args]
        options += [(name, value) for name, value in (("file", self.file), ("target", self.target)) if value]
        query = "&".join(f"{name}={quote(value, safe=_PLAIN, errors='surrogateescape')}" for name, value in options)
        # The mark at the end keeps one of the path from being taken for that of the options.
        return f"build:{self.path}" + (f"?{query}" if options or "?" in self.path else "")

    def familiar(self) -> str:
        return str(self)


def parse_build(rest: str, base: str) -> BuildReference:
    """The reference that `build:` and `rest`, `PATH[?file=FILE&target=STAGE&arg=NAME=VALUE]`, are. Raises ImageError."""
    path, mark, query = rest.rpartition("?")
    if not mark or os.path.exists(below(base, rest)):
        return BuildReference(path=below(base, rest))
    given: dict[str, list[str]] = {}
    for part in filter(None, query.split("&")):
        name, _, text = part.partition("=")
        value = unquote(text, errors="surrogateescape")
        if name not in _OPTIONS:
            raise ImageError(f"option {name!r:.100} is none of build:", hint=f"there are {', '.join(f'{o}=…' for o in _OPTIONS)}")
        given.setdefault(name, []).append(value)
    for name in ("file", "target"):
        if len(given.get(name, ())) > 1:
            raise ImageError(f"option {name}= is given twice")
    file = given.get("file", [""])[0]
    folder = below(base, path)
    return BuildReference(
        path=folder,
        file=below(folder, file) if file else "",
        target=given.get("target", [""])[0],
        args=tuple(given.get("arg", ())),
    )
