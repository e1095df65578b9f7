"""What instructions that change no files make of an image's configuration. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lxsandbox.image import Healthcheck
from lxsandbox.images import config_fields as fields
from lxsandbox.images.building.syntax import Instruction
from lxsandbox.images.config import ImageConfig

__all__ = ["SETTINGS", "in_shell", "set_env"]

_SHELL = ("/bin/sh", "-c")
_PORTS = re.compile(r"([0-9]{1,5})-([0-9]{1,5})(/[A-Za-z]+)?")
# Go's time.ParseDuration, which is what Docker reads durations by.
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

Setting = Callable[[ImageConfig, Instruction, Sequence[str]], ImageConfig]
"""Of a configuration, an instruction and its arguments, expanded where the instruction has them expanded, the next one."""


def in_shell(config: ImageConfig, instruction: Instruction, args: Sequence[str]) -> tuple[str, ...]:
    """A command as it is run: a JSON list as it is, text by the shell."""
    return tuple(args) if instruction.is_exec else (*(config.shell or _SHELL), " ".join(args))


def set_env(config: ImageConfig, pairs: Mapping[str, str], instruction: Instruction) -> ImageConfig:
    """The configuration with these variables too."""
    checked = fields.env([f"{name}={value}" for name, value in pairs.items()], str(instruction.where))
    return replace(config, env={**config.env, **checked})


def _env(config: ImageConfig, instruction: Instruction, args: Sequence[str]) -> ImageConfig:
    return set_env(config, dict(zip(args[::2], args[1::2], strict=True)), instruction)


def _label(config: ImageConfig, instruction: Instruction, args: Sequence[str]) -> ImageConfig:
    checked = fields.labels(dict(zip(args[::2], args[1::2], strict=True)), str(instruction.where))
    return replace(config, labels={**config.labels, **checked})


def _cmd(config: ImageConfig, instruction: Instruction, args: Sequence[str]) -> ImageConfig:
    return replace(config, command=in_shell(config, instruction, args))


def _entrypoint(config: ImageConfig, instruction: Instruction, args: Sequence[str]) -> ImageConfig:
    return replace(config, entrypoint=in_shell(config, instruction, args))


def _user(config: ImageConfig, instruction: Instruction, args: Sequence[str]) -> ImageConfig:
    return replace(config, user=fields.user(args[0], str(instruction.where)))


def _expose(config: ImageConfig, instruction: Instruction, args: Sequence[str]) -> ImageConfig:
    ports = [port for arg in args for word in arg.split() for port in _ports(word, instruction)]
    return replace(config, exposed_ports=fields.ports(dict.fromkeys([*config.exposed_ports, *ports]), str(instruction.where)))


def _ports(text: str, instruction: Instruction) -> list[str]:
    span = _PORTS.fullmatch(text)
    if span is None:
        return [text]
    first, last = int(span[1]), int(span[2])
    if first > last or last > 65535:
        instruction.where.refuse(f"{text!r:.100} is no range of ports", hint="write it as 8000-8010")
    return [f"{number}{span[3] or ''}" for number in range(first, last + 1)]


def _volume(config: ImageConfig, instruction: Instruction, args: Sequence[str]) -> ImageConfig:
    return replace(config, volumes=fields.volumes(dict.fromkeys([*config.volumes, *args]), str(instruction.where)))


def _stop_signal(config: ImageConfig, instruction: Instruction, args: Sequence[str]) -> ImageConfig:
    return replace(config, stop_signal=fields.stop_signal(args[0], str(instruction.where)))


def _shell(config: ImageConfig, instruction: Instruction, args: Sequence[str]) -> ImageConfig:
    if not instruction.is_exec:
        instruction.where.refuse("it needs a list", hint='write SHELL ["/bin/bash", "-c"]')
    return replace(config, shell=tuple(args))


def _healthcheck(config: ImageConfig, instruction: Instruction, args: Sequence[str]) -> ImageConfig:
    where = instruction.where
    kind = args[0].upper()
    if kind == "NONE" and len(args) == 1 and not instruction.flags:
        return replace(config, healthcheck=Healthcheck(test=("NONE",)))
    if kind != "CMD" or len(args) < 2:
        where.refuse("it is neither CMD with a command nor NONE", hint="write HEALTHCHECK CMD curl -f http://localhost/")
    test = ("CMD", *args[1:]) if instruction.is_exec else ("CMD-SHELL", args[1])
    retries = instruction.flags.get("retries", "3")
    if not retries.isdecimal() or not 0 < int(retries) < 1 << 31:
        where.refuse(f"--retries={retries:.100} is no number above 0")
    given = {f"{name.replace('-', '_')}_seconds": _seconds(instruction, name) for name in instruction.flags if name != "retries"}
    return replace(config, healthcheck=Healthcheck(test=test, retries=int(retries), **given))


def _seconds(instruction: Instruction, name: str) -> float:
    text = instruction.flags[name]
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        instruction.where.refuse(f"--{name}={text:.100} is no duration", hint="write it as 30s, 1m30s or 500ms")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


SETTINGS: Mapping[str, Setting] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
}
