"""A Containerfile as its instructions: which there are, with which flags, and where. Nothing is expanded here.

The grammar (directives, continuation lines, quotes, JSON forms, heredocs) is that of e2b-dockerfile-utils, a port of BuildKit's
parser. What can be built is decided here: the rest is refused by name and line.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from e2b_dockerfile_utils import (
    DockerfileInstruction,
    DockerfileSyntaxError,
    ShellLex,
    chomp_heredoc_content,
    parse_dockerfile_ast,
)

from lxsandbox.errors import ImageError

__all__ = ["Heredoc", "Instruction", "Where", "expanded", "parse_instructions"]

# Each instruction that can be built, and its flags.
_FLAGS: Mapping[str, tuple[str, ...]] = {
    "ADD": ("chmod", "chown"),
    "ARG": (),
    "CMD": (),
    "COPY": ("chmod", "chown", "from"),
    "ENTRYPOINT": (),
    "ENV": (),
    "EXPOSE": (),
    "FROM": ("platform",),
    "HEALTHCHECK": ("interval", "retries", "start-interval", "start-period", "timeout"),
    "LABEL": (),
    "RUN": (),
    "SHELL": (),
    "STOPSIGNAL": (),
    "USER": (),
    "VOLUME": (),
    "WORKDIR": (),
}
_INSTEAD = {
    "MAINTAINER": 'write LABEL org.opencontainers.image.authors="…"',
    "ONBUILD": "write the instruction into the Containerfile that it is for",
}
_FLAG_INSTEAD = {
    ("RUN", "mount"): "leave it out: a step sees what is copied before it, and steps are cached by what they are made of",
    ("RUN", "network"): "leave it out: a step reaches what the host reaches",
    ("RUN", "security"): "leave it out: a step has the rights of a sandbox",
    ("COPY", "link"): "leave it out: the result is the same",
    ("ADD", "link"): "leave it out: the result is the same",
    ("ADD", "checksum"): "fetch the file by RUN, and compare its checksum there",
    ("COPY", "parents"): "name the target folder of each source",
    ("COPY", "exclude"): "name what is to be left out in .dockerignore",
}
_LONGEST_TEXT = 1 << 20
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a Containerfile, for errors."""

    file: str
    line: int
    instruction: str = ""

    def refuse(self, message: str, *, hint: str = "") -> NoReturn:
        """Raises ImageError that says where."""
        raise ImageError(f"{self}: {message}", hint=hint)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.instruction}" if self.instruction else f"{self.file}:{self.line}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Heredoc:
    """A text that follows its instruction; `expand` when variables in it are meant."""

    name: str
    content: str
    expand: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """One instruction, in upper case, with all its lines joined in `text`. `is_exec` when `args` were a JSON list.

    Of ENV and LABEL, `args` are names and values by turns.
    """

    name: str
    where: Where
    text: str
    args: tuple[str, ...]
    flags: Mapping[str, str] = field(default_factory=dict[str, str])
    is_exec: bool = False
    heredocs: tuple[Heredoc, ...] = ()

    @property
    def shown(self) -> str:
        """The instruction on one line, for people."""
        text = " ".join(self.text.split())
        return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def parse_instructions(text: str, *, file: str) -> tuple[list[Instruction], str]:
    """The instructions of a Containerfile, and its escape character; `file` is its name in errors. Raises ImageError."""
    if len(text) > _LONGEST_TEXT or "\0" in text:
        raise ImageError(f"{file} is no Containerfile: it is too long, or has a NUL character")
    try:
        parsed = parse_dockerfile_ast(text)
    except DockerfileSyntaxError as error:
        _refuse_syntax(error, file)
    return [_checked(each, file) for each in parsed.instructions], parsed.escape_token


def _refuse_syntax(error: DockerfileSyntaxError, file: str) -> NoReturn:
    message = str(error).partition(": ")[2]
    word = message.partition("unknown instruction: ")[2]
    near = difflib.get_close_matches(word.upper(), _FLAGS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_FLAGS)}" if word else ""
    Where(file, error.line or 1).refuse(message, hint=hint)


def _checked(given: DockerfileInstruction, file: str) -> Instruction:
    where = Where(file, given.start_line, given.name)
    if given.name not in _FLAGS:
        where.refuse(f"{given.name} is not supported", hint=_INSTEAD.get(given.name, ""))
    flags: dict[str, str] = {}
    for flag in given.flags:
        name, equals, value = flag.removeprefix("--").partition("=")
        if name not in _FLAGS[given.name]:
            known = ", ".join(f"--{each}" for each in _FLAGS[given.name])
            hint = _FLAG_INSTEAD.get((given.name, name), f"there are {known}" if known else f"{given.name} has none")
            where.refuse(f"--{name} is not supported", hint=hint)
        if not equals or not value or name in flags:
            where.refuse(f"--{name} needs one value", hint=f"write --{name}=VALUE")
        flags[name] = value
    if not given.args:
        where.refuse("nothing follows it", hint="see docs.docker.com/reference/dockerfile for its form")
    return Instruction(
        name=given.name,
        where=where,
        text=given.original.strip(),
        args=_args(given, where),
        flags=flags,
        is_exec=given.json,
        heredocs=tuple(_heredoc(each.name, each.content, each.chomp, each.expand) for each in given.heredocs),
    )


def _args(given: DockerfileInstruction, where: Where) -> tuple[str, ...]:
    if given.name not in ("ENV", "LABEL"):
        return tuple(given.args)
    for name in given.args[::3]:
        if not name:
            where.refuse("a name is empty", hint=f"write {given.name} NAME=VALUE")
    return tuple(word for place, word in enumerate(given.args) if place % 3 < 2)


def _heredoc(name: str, content: str, chomp: bool, expand: bool) -> Heredoc:
    return Heredoc(name=name, content=chomp_heredoc_content(content) if chomp else content, expand=expand)


def expanded(word: str, variables: Mapping[str, str], where: Where, *, escape: str, quotes: bool = True) -> str:
    """The word with its variables replaced, and its quotes removed unless they are text (`quotes=False`). Raises ImageError."""
    lexer = ShellLex(escape, env=variables, skip_unset_env=False, skip_process_quotes=not quotes)
    try:
        return lexer.process_word(word)
    except ValueError as error:
        where.refuse(str(error))
