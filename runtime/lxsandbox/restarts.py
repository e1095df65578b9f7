"""When a command that has ended is started again, and how long is waited before that. Pure: others start it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from lxsandbox.errors import SpecError

__all__ = ["Backoff", "RestartPolicy"]

# As Docker's: doubled each time, and from the beginning again after a command that ran for ten seconds. But short: a test waits.
_FIRST_SECONDS = 0.01
_LONGEST_SECONDS = 1.0
_RAN_WELL_SECONDS = 10.0
_FORM = re.compile(r"(no|always|on-failure)(?::([1-9][0-9]{0,8}))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartPolicy:
    """`no`, `always`, or `on-failure` with the most restarts that there may be, None for no bound."""

    name: str = "no"
    most: int | None = None

    @classmethod
    def parse(cls, text: Any) -> RestartPolicy:
        """The policy as container tools write it. Raises SpecError."""
        found = _FORM.fullmatch(text) if isinstance(text, str) else None
        if found is None or (found[2] is not None and found[1] != "on-failure"):
            raise SpecError(
                f"restart={text!r} is unknown",
                hint='use "no", "on-failure", "on-failure:N" with at most N restarts, N from 1, or "always"',
            )
        return cls(name=found[1], most=None if found[2] is None else int(found[2]))

    def __bool__(self) -> bool:
        return self.name != "no"

    def wants(self, status: int, restarts: int) -> bool:
        """Whether a command that ended with `status`, and was restarted so often already, is started again."""
        if self.name == "on-failure":
            return status != 0 and (self.most is None or restarts < self.most)
        return self.name == "always"


class Backoff:
    """How long is waited before each start in a row of them."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def after(self, ran_seconds: float) -> float:
        """The time to wait, in seconds, where the command has just ended after running for so long."""
        if ran_seconds >= _RAN_WELL_SECONDS:
            self._seconds = 0.0
        self._seconds = min(self._seconds * 2, _LONGEST_SECONDS) or _FIRST_SECONDS
        return self._seconds
