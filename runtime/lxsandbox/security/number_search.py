"""Rules that ask for nothing but the call's number, as BPF: a binary search over the runs of numbers with one answer.

libseccomp's tree has a comparison for every number; this one has one for every run of them, which is a quarter. Each sandbox
has the program checked, compiled and kept by the kernel for itself, so its length is time and memory of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lxsandbox.security.bpf import ARCHITECTURE, JUMP, JUMP_IF_EQUAL, JUMP_IF_NOT_BELOW, LOAD, NUMBER, RETURN, instruction

__all__ = ["instructions"]

_FARTHEST = 250  # a conditional jump skips 255 instructions at most; some room for a jump in between

_Run = tuple[int, int]  # its first number, and the answer to each


def instructions(answers: Mapping[int, Mapping[int, int]], *, default: int, foreign: int) -> bytes:
    """Struct sock_filter[] that gives every call an answer: by architecture (AUDIT_ARCH_*), then by number.

    `default` answers the numbers that are not named, `foreign` all calls of other architectures.
    """
    program = _Program()
    otherwise = program.put(RETURN, foreign)
    for architecture, actions in reversed(list(answers.items())):
        program.forget_answers()
        program.put_search(_runs(actions, default))
        found = program.put(LOAD, NUMBER)
        otherwise = program.branch(JUMP_IF_EQUAL, architecture, then=found, otherwise=otherwise)
    program.put(LOAD, ARCHITECTURE)
    return program.as_bytes()


def _runs(actions: Mapping[int, int], default: int) -> list[_Run]:
    """All numbers there are, as runs with one answer."""
    runs: list[_Run] = []
    following = 0
    for number, answer in sorted(actions.items()):
        if number > following:
            _extend(runs, following, default)
        _extend(runs, number, answer)
        following = number + 1
    _extend(runs, following, default)
    return runs


def _extend(runs: list[_Run], number: int, answer: int) -> None:
    if not runs or runs[-1][1] != answer:
        runs.append((number, answer))


class _Program:
    """Instructions made from the last to the first, since jumps lead forward: to what is there already.

    A place is how many instructions there are from it to the end.
    """

    def __init__(self) -> None:
        self._made: list[bytes] = []
        self._answers: dict[int, int] = {}

    def put(self, code: int, operand: int, *, then: int = 0, otherwise: int = 0) -> int:
        """Put an instruction in front, and return its place."""
        self._made.append(instruction(code, operand, then=then, otherwise=otherwise))
        return len(self._made)

    def branch(self, code: int, operand: int, *, then: int, otherwise: int) -> int:
        """Put a comparison in front that leads to one of two places."""
        then, otherwise = self._near(then), self._near(otherwise)
        here = len(self._made)
        return self.put(code, operand, then=here - then, otherwise=here - otherwise)

    def put_search(self, runs: Sequence[_Run]) -> int:
        """Put a search in front that returns the answer for the number that was loaded."""
        if len(runs) == 1:
            answer = runs[0][1]
            if answer not in self._answers:
                self._answers[answer] = self.put(RETURN, answer)
            return self._answers[answer]
        middle = len(runs) // 2
        upper = self.put_search(runs[middle:])
        lower = self.put_search(runs[:middle])
        return self.branch(JUMP_IF_NOT_BELOW, runs[middle][0], then=upper, otherwise=lower)

    def forget_answers(self) -> None:
        """Return by instructions of its own from now on: those that are there are becoming far."""
        self._answers.clear()

    def _near(self, place: int) -> int:
        """The place, or that of a jump to it when it is too far for a comparison."""
        distance = len(self._made) - place
        return place if distance <= _FARTHEST else self.put(JUMP, distance)

    def as_bytes(self) -> bytes:
        return b"".join(reversed(self._made))
