"""A system call filter as a value: what to answer to which call, before any of it is BPF.

The numbers are the kernel's own (include/uapi/linux/seccomp.h), which are libseccomp's as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = [
    "ALLOW",
    "KILL_PROCESS",
    "KILL_THREAD",
    "LOG",
    "TRAP",
    "Check",
    "Comparison",
    "Condition",
    "Plan",
    "Rule",
    "errno_action",
]

ALLOW = 0x7FFF0000
LOG = 0x7FFC0000
TRAP = 0x00030000
KILL_THREAD = 0x00000000
KILL_PROCESS = 0x80000000


def errno_action(number: int) -> int:
    """The action that makes a call fail with this errno, without running it."""
    return 0x00050000 | number


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One condition on all 64 bits of an argument, as libseccomp has it; `operator` is its number there."""

    argument: int
    operator: int
    value: int
    second_value: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """The action for a call where all comparisons hold; without any, for the call whatever its arguments."""

    call: str
    action: int
    comparisons: tuple[Comparison, ...] = ()


class Condition(Enum):
    """What a Check asks of an argument."""

    NOT_IN = "none of the values"
    IN = "one of the values"
    NO_BIT_OF = "no bit of the one value"
    NEVER = "nothing: the call is refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A condition on the low 32 bits of an argument; a call that fails it gets the errno, whatever the rules say.

    For arguments that the kernel takes as `int`: it drops the high half, so to compare all 64 bits there, as a Rule does,
    would let `0x1_0000_5412` through in place of `0x5412` (CVE-2019-10063).
    """

    call: str
    argument: int
    condition: Condition
    values: tuple[int, ...]
    errno: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A whole filter: first the checks, then the rules, then the default.

    `architectures` are those beside the machine's own whose calls the rules cover as well, by libseccomp's number;
    a call made through any other is answered ENOSYS. With `by_number`, every rule is for the one number that a call has in an
    architecture, whatever its arguments; else what i386 does by way of `socketcall` and `ipc` is looked for there too.
    """

    default: int
    rules: tuple[Rule, ...]
    checks: tuple[Check, ...] = ()
    architectures: tuple[int, ...] = ()
    by_number: bool = False
