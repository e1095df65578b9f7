"""Reads a seccomp profile in the JSON format of the OCI runtime specification, as Docker and Podman take it, into a plan.

https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#seccomp; `archMap`, `includes`, `excludes` and
`minKernel` are Docker's additions. Every mistake in the file is a SpecError that names the file and the place in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from errno import EPERM
from typing import Any

from lxsandbox.errors import SpecError
from lxsandbox.security.capabilities import NUMBERS
from lxsandbox.security.seccomp_plan import (
    ALLOW,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    TRAP,
    Comparison,
    Plan,
    Rule,
    errno_action,
)

__all__ = ["parse"]

_ACTIONS = {
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_TRAP": TRAP,
}
# enum scmp_compare of <seccomp.h>
_OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
# AUDIT_ARCH_* of include/uapi/linux/audit.h
_ARCHITECTURES = {
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
}
# The names that `includes.arches` has for machines, by the number of their architecture.
_MACHINES = {0x40000003: "x86", 0xC000003E: "amd64", 0x40000028: "arm", 0xC00000B7: "arm64", 0xC00000F3: "riscv64"}


def parse(text: bytes, *, source: str, capabilities: frozenset[int], native: int) -> Plan:
    """The plan that the profile describes for these capabilities on this architecture. Raises SpecError."""
    return _Reader(source, capabilities, native).plan(text)


class _Reader:
    """One reading of one profile: the file's name for errors, and what its conditions are asked about."""

    def __init__(self, source: str, capabilities: frozenset[int], native: int) -> None:
        self._source = source
        self._native = native
        self._capabilities = {name for name, number in NUMBERS.items() if number in capabilities}

    def plan(self, text: bytes) -> Plan:
        try:
            profile = json.loads(text)
        except ValueError as error:
            raise self._error("it is not JSON", str(error)) from None
        profile = self._kind(profile, dict, "the profile")
        default = self._action(profile, "defaultAction", "defaultErrnoRet", "defaultAction")
        rules: list[Rule] = []
        for place, entry in enumerate(self._optional(profile, "syscalls", list, "")):
            rules += self._rules(self._kind(entry, dict, f"syscalls[{place}]"), f"syscalls[{place}]")
        # libseccomp refuses a rule that says what the default says; runtimes leave it out.
        rules = [rule for rule in rules if rule.action != default]
        return Plan(default=default, rules=tuple(rules), architectures=self._architectures(profile))

    def _architectures(self, profile: Mapping[str, Any]) -> tuple[int, ...]:
        names = list(self._optional(profile, "architectures", list, ""))
        for entry in self._optional(profile, "archMap", list, ""):
            entry = self._kind(entry, dict, "archMap entry")
            if _ARCHITECTURES.get(str(entry.get("architecture"))) == self._native:
                names += self._optional(entry, "subArchitectures", list, "archMap ")
        # A profile lists all the machines it is meant for; another machine's calls are never seen on this one.
        numbers = (_ARCHITECTURES.get(self._kind(name, str, "architecture")) for name in names)
        return tuple(dict.fromkeys(n for n in numbers if n is not None and n != self._native))

    def _rules(self, entry: Mapping[str, Any], where: str) -> list[Rule]:
        action = self._action(entry, "action", "errnoRet", where)
        names = entry["names"] if "names" in entry else [entry.get("name")]
        calls = [self._kind(name, str, f"{where}.names") for name in self._kind(names, list, f"{where}.names")]
        args = self._optional(entry, "args", list, f"{where}.")
        comparisons = tuple(self._comparison(arg, f"{where}.args[{place}]") for place, arg in enumerate(args))
        if not self._applies(entry, where):
            return []
        return [Rule(call=call, action=action, comparisons=chosen) for call in calls for chosen in _alternatives(comparisons)]

    def _action(self, entry: Mapping[str, Any], key: str, errno_key: str, where: str) -> int:
        name = entry.get(key)
        if name == "SCMP_ACT_ERRNO":
            number = entry.get(errno_key)
            return errno_action(EPERM if number is None else self._number(number, f"{where} {errno_key}", at_most=4095))
        if name not in _ACTIONS:
            raise self._error(f"{where} has {key}={name!r}", f"the actions are {', '.join([*_ACTIONS, 'SCMP_ACT_ERRNO'])}")
        return _ACTIONS[name]

    def _comparison(self, arg: Any, where: str) -> Comparison:
        arg = self._kind(arg, dict, where)
        if arg.get("op") not in _OPERATORS:
            raise self._error(f"{where} has op={arg.get('op')!r}", f"the operators are {', '.join(_OPERATORS)}")
        return Comparison(
            argument=self._number(arg.get("index"), f"{where}.index", at_most=5),
            operator=_OPERATORS[arg["op"]],
            value=self._number(arg.get("value"), f"{where}.value"),
            second_value=self._number(arg.get("valueTwo") or 0, f"{where}.valueTwo"),
        )

    def _applies(self, entry: Mapping[str, Any], where: str) -> bool:
        includes = self._optional(entry, "includes", dict, f"{where}.")
        excludes = self._optional(entry, "excludes", dict, f"{where}.")
        machine = _MACHINES.get(self._native, "")
        if machine in self._names(excludes, "arches", where) or self._capabilities & self._names(excludes, "caps", where):
            return False
        machines = self._names(includes, "arches", where)
        if machines and machine not in machines:
            return False
        if includes.get("minKernel") and _version(os.uname().release) < _version(str(includes["minKernel"])):
            return False
        return self._capabilities >= self._names(includes, "caps", where)

    def _names(self, condition: Mapping[str, Any], key: str, where: str) -> set[str]:
        return {str(name).removeprefix("CAP_") for name in self._optional(condition, key, list, f"{where} ")}

    def _number(self, value: Any, where: str, *, at_most: int = 2**64 - 1) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= at_most:
            raise self._error(f"{where} is {value!r}", f"it is a whole number, {at_most} at most")
        return value

    def _optional(self, entry: Mapping[str, Any], key: str, kind: type, prefix: str) -> Any:
        value = entry.get(key)
        return kind() if value is None else self._kind(value, kind, f"{prefix}{key}")

    def _kind(self, value: Any, kind: type, where: str) -> Any:
        if not isinstance(value, kind):
            raise self._error(f"{where} is {value!r:.60}", f"it is a JSON {_JSON_NAMES[kind]}")
        return value

    def _error(self, problem: str, hint: str) -> SpecError:
        return SpecError(f"seccomp profile {self._source}: {problem}", hint=hint)


_JSON_NAMES: dict[type, str] = {dict: "object", list: "array", str: "string"}


def _alternatives(comparisons: tuple[Comparison, ...]) -> list[tuple[Comparison, ...]]:
    """All have to hold; but where an argument is named twice any one is enough: libseccomp takes it once, so runc has it so."""
    if len({comparison.argument for comparison in comparisons}) < len(comparisons):
        return [(comparison,) for comparison in comparisons]
    return [comparisons]


def _version(text: str) -> tuple[int, int]:
    """The first two numbers of a kernel release such as `6.1.0-13-amd64`; what is no number counts as 0."""
    major, minor, *_ = [int(part) if part.isdigit() else 0 for part in (*text.split("-")[0].split("."), "0")]
    return major, minor
