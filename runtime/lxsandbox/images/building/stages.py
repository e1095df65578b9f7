"""The stages of a Containerfile: where each begins, what it is based on, and which of them a target needs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lxsandbox.errors import ImageError
from lxsandbox.images.building.syntax import Instruction, Where, expanded, parse_instructions
from lxsandbox.images.documents import Platform

__all__ = ["PROXIES", "Containerfile", "Stage", "parse_containerfile"]

PROXIES = frozenset(
    name for word in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy") for name in (word, word.upper())
)
"""Build arguments that need no ARG (Dockerfile reference, "Predefined ARGs"): steps have them, and keys do not."""

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What stands from one FROM to the next. `base` is an image's reference, `scratch`, or the number of an earlier stage."""

    number: int
    name: str
    base: str | int
    where: Where
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Containerfile:
    """A Containerfile that was read, with the arguments of one build. `globals` are the ARGs before the first FROM."""

    file: str
    escape: str
    stages: tuple[Stage, ...]
    globals: Mapping[str, str]
    given: Mapping[str, str]

    def stage(self, name: str) -> Stage | None:
        """The stage of that name or number."""
        for stage in self.stages:
            if name.lower() in (stage.name, str(stage.number)):
                return stage
        return None

    def target(self, name: str) -> Stage:
        """The stage to build; the last one where no name is given. Raises ImageError."""
        found = self.stage(name) if name else self.stages[-1]
        if found is None:
            names = ", ".join(stage.name for stage in self.stages if stage.name) or "none with a name"
            raise ImageError(f"{self.file} has no stage {name!r:.100}", hint=f"there are {names}")
        return found

    def unused_arguments(self) -> list[str]:
        """The build arguments that no ARG declares."""
        declared = {name for stage in self.stages for each in stage.instructions for name in _declared(each)}
        return sorted(set(self.given) - set(self.globals) - declared - PROXIES)


def parse_containerfile(text: str, *, file: str, given: Mapping[str, str], platform: Platform) -> Containerfile:
    """Read a Containerfile for a build with the arguments `given`, on a host of `platform`. Raises ImageError."""
    instructions, escape = parse_instructions(text, file=file)
    starts = [place for place, each in enumerate(instructions) if each.name == "FROM"]
    if not starts:
        raise ImageError(f"{file} has no FROM", hint="begin with FROM host, FROM scratch, or FROM and an image")
    known = {**_platform_arguments(platform), **given}
    variables = _globals(instructions[: starts[0]], known, escape)
    stages: list[Stage] = []
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(instructions)], strict=True)):
        scope = {**_platform_arguments(platform), **variables}
        stages.append(_stage(number, instructions[start:end], stages, scope, escape, platform))
    return Containerfile(
        file=file, escape=escape, stages=tuple(stages), globals={**_platform_arguments(platform), **variables}, given=given
    )


def _globals(instructions: Iterable[Instruction], known: Mapping[str, str], escape: str) -> dict[str, str]:
    variables: dict[str, str] = {}
    for each in instructions:
        if each.name != "ARG":
            each.where.refuse("it stands before the first FROM", hint="only ARG may")
        for name, default in arguments(each, {**known, **variables}, escape).items():
            value = known.get(name, default)
            if value is not None:
                variables[name] = value
    return variables


def arguments(instruction: Instruction, variables: Mapping[str, str], escape: str) -> dict[str, str | None]:
    """The names that an ARG declares, and their defaults."""
    found: dict[str, str | None] = {}
    for word in instruction.args:
        name, equals, value = word.partition("=")
        if not _ARGUMENT.fullmatch(name):
            instruction.where.refuse(f"{name!r:.100} is no name of an argument", hint="write ARG NAME or ARG NAME=DEFAULT")
        scope = {**variables, **{key: text for key, text in found.items() if text is not None}}
        found[name] = expanded(value, scope, instruction.where, escape=escape) if equals else None
    return found


def _declared(instruction: Instruction) -> list[str]:
    return [word.partition("=")[0] for word in instruction.args] if instruction.name == "ARG" else []


def _platform_arguments(platform: Platform) -> dict[str, str]:
    # Dockerfile reference, "Automatic platform ARGs in the global scope"
    parts = {"PLATFORM": str(platform), "OS": platform.os, "ARCH": platform.architecture, "VARIANT": platform.variant}
    return {f"{side}{name}": value for side in ("TARGET", "BUILD") for name, value in parts.items()}


def _stage(
    number: int,
    instructions: Sequence[Instruction],
    earlier: Sequence[Stage],
    variables: Mapping[str, str],
    escape: str,
    platform: Platform,
) -> Stage:
    start = instructions[0]
    words = [expanded(word, variables, start.where, escape=escape) for word in start.args]
    match words:
        case [base]:
            name = ""
        case [base, word, name] if word.upper() == "AS":
            name = name.lower()
        case _:
            start.where.refuse(f"{' '.join(words)!r:.100} is not IMAGE [AS NAME]")
    if not base:
        start.where.refuse(f"{start.args[0]!r:.100} is empty", hint="give its ARG a default, or the build a --build-arg")
    if name and not _STAGE_NAME.fullmatch(name):
        start.where.refuse(f"{name!r:.100} is no name of a stage", hint="a letter, then letters, digits and - _ .")
    if name and any(stage.name == name for stage in earlier):
        start.where.refuse(f"there are two stages {name}", hint="give one of them another name")
    if "platform" in start.flags:
        _check_platform(expanded(start.flags["platform"], variables, start.where, escape=escape), platform, start.where)
    of_stage = next((stage.number for stage in earlier if stage.name == base.lower()), None)
    return Stage(
        number=number,
        name=name,
        base=base if of_stage is None else of_stage,
        where=start.where,
        instructions=tuple(instructions[1:]),
    )


def _check_platform(text: str, platform: Platform, where: Where) -> None:
    if text not in (str(platform), f"{platform.os}/{platform.architecture}"):
        where.refuse(
            f"--platform={text:.100} is another than this host's, {platform}",
            hint="steps are run on this host: leave it out, or build on a host of that platform",
        )
