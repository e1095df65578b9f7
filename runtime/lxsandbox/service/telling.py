"""A build as it goes on, told to the client that asked for it: JSON objects, one a line, through a pipe."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

from lxsandbox.errors import SandboxError

__all__ = ["Telling"]


class Telling:
    """See `registry.progress.Progress`. Once nobody reads, whatever is told raises SandboxError, and so the work ends.

    Lines are `{"step": TEXT}`, `{"output": TEXT}`, `{"begin": DIGEST, "size": BYTES}`, `{"advance": DIGEST, "count": BYTES}`,
    `{"end": DIGEST}`, and as the last one `{"done": DIGEST}` or `{"error": …}`.
    """

    def __init__(self, pipe: int) -> None:
        """`pipe` is the end to write to, which `close` closes."""
        self._pipe = pipe
        self._turns = threading.Lock()

    def close(self) -> None:
        os.close(self._pipe)

    def tell(self, **fields: Any) -> None:
        line = json.dumps(fields).encode() + b"\n"
        try:
            with self._turns:
                os.write(self._pipe, line)
        except BrokenPipeError:
            raise SandboxError("nobody waits for this image any more") from None

    def begin(self, digest: str, size: int) -> None:
        self.tell(begin=digest, size=size)

    def advance(self, digest: str, count: int) -> None:
        self.tell(advance=digest, count=count)

    def end(self, digest: str) -> None:
        self.tell(end=digest)

    def step(self, text: str) -> None:
        self.tell(step=text)

    def output(self, text: str) -> None:
        self.tell(output=text)
