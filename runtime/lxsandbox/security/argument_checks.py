"""The checks of a plan as BPF, to stand in front of the program that libseccomp makes of its rules.

libseccomp has no "low half of the argument is none of these". Each check here returns its errno or falls through; jumps
in BPF are relative and forward, so instructions may be put in front of any program. A call without a check passes a few
comparisons of its number only, which keeps it in the kernel's cache of calls that are always allowed (since 5.11).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from lxsandbox.security.bpf import ARCHITECTURE, ARGUMENTS, JUMP, JUMP_IF_BIT, JUMP_IF_EQUAL, LOAD, NUMBER, RETURN, instruction
from lxsandbox.security.seccomp_plan import Check, Condition, errno_action

__all__ = ["instructions"]

_LOW_HALF = 0 if sys.byteorder == "little" else 4


def instructions(checks: Sequence[Check], architectures: Sequence[int], number_of: Callable[[int, str], int | None]) -> bytes:
    """Struct sock_filter[] that applies the checks in each architecture and falls through where all hold.

    `number_of(architecture, call)` is None where the architecture has no such call; nothing is made for it there.
    """
    return b"".join(_block(architecture, checks, number_of) for architecture in architectures)


def _block(architecture: int, checks: Sequence[Check], number_of: Callable[[int, str], int | None]) -> bytes:
    body = b""
    # From the last check to the first: each has to know how much follows it, for the jump to the end of the block.
    for check in reversed(checks):
        number = number_of(architecture, check.call)
        if number is not None:
            body = _one_check(check, number, following=len(body) // 8) + body
    if not body:
        return b""
    body = instruction(LOAD, NUMBER) + body
    return instruction(LOAD, ARCHITECTURE) + instruction(JUMP_IF_EQUAL, architecture, otherwise=len(body) // 8) + body


def _one_check(check: Check, number: int, *, following: int) -> bytes:
    refuse = instruction(RETURN, errno_action(check.errno))
    if check.condition is Condition.NEVER:
        body = refuse
    else:
        body = instruction(LOAD, ARGUMENTS + 8 * check.argument + _LOW_HALF) + _comparisons(check, refuse, following)
    return instruction(JUMP_IF_EQUAL, number, otherwise=len(body) // 8) + body


def _comparisons(check: Check, refuse: bytes, following: int) -> bytes:
    """A comparison for each value, each leading to the last of two instructions: the one for a value that was found."""
    wanted = check.condition is Condition.IN
    code = JUMP_IF_BIT if check.condition is Condition.NO_BIT_OF else JUMP_IF_EQUAL
    count = len(check.values)
    tests = [instruction(code, value, then=count - place) for place, value in enumerate(check.values)]
    passed = instruction(JUMP, following if wanted else following + 1)
    return b"".join(tests) + (refuse + passed if wanted else passed + refuse)
