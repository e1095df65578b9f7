"""The log of a sandbox as it grows, line by line."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

__all__ = ["LogLines"]

_LONGEST = 1 << 20  # of one piece: what never ends its line comes in several


class LogLines:
    """An iterator of lines, each with its end, as files have it. `close()` is for who wants no more before its end.

    Text is UTF-8; what is none becomes U+FFFD. A line `[… N bytes dropped]` stands where so much was printed faster than read.
    """

    def __init__(self, pipe: int) -> None:
        """`pipe` is what the service writes to, owned by this from now on."""
        self._file = os.fdopen(pipe, encoding="utf-8", errors="replace", newline="\n")

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = "" if self._file.closed else self._file.readline(_LONGEST)
        if not line:
            self.close()
            raise StopIteration
        return line

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()  # who leaves a `for` early has no name for it
