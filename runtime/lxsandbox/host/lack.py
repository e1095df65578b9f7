"""What an attempt raises when the host cannot do it: the cause, as `fixes.py` knows it, and what was seen."""

from __future__ import annotations

from typing import Any

__all__ = ["Lack"]


class Lack(Exception):
    """`cause` is a key of `fixes.FIXES`; `fix` overrides that entry where the one who refused said what to do."""

    def __init__(self, cause: str, detail: str, *, fix: str = "") -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.fix = fix

    def as_json(self) -> dict[str, Any]:
        return {"cause": self.cause, "detail": self.detail, "fix": self.fix}
