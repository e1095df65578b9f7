"""What is fuzzed: something that takes an input, and says of each that it is taken or refused. All else is a finding."""

from __future__ import annotations

from random import Random
from typing import Any, Protocol, TypeVar

from lxsandbox.errors import ImageError
from lxsandbox.images.unpack.refusal import Refused

__all__ = ["AnyTarget", "Target", "check_refusal"]

Input = TypeVar("Input")


class Target(Protocol[Input]):
    """One thing that reads what others have made."""

    name: str

    def make(self, random: Random) -> Input:
        """An input; the same for the same `random`."""
        ...

    def attempt(self, made: Input) -> bool:
        """Whether it is taken. Raises ImageError or Refused where it is refused, and anything else for a finding."""
        ...


AnyTarget = Target[Any]


def check_refusal(error: ImageError | Refused) -> None:
    """A refusal says something, and nothing that a terminal would obey. Raises AssertionError."""
    said = error.message if isinstance(error, ImageError) else str(error)
    assert said, "a refusal without a word"
    assert said.isprintable(), f"a refusal with control characters: {said!r}"
