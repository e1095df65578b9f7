"""What a sandbox has changed in its root."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, cast

__all__ = ["Change", "read_changes"]


@dataclass(frozen=True, slots=True)
class Change:
    """One path of a sandbox that is not as in its image.

    `kind` is `added`, `changed` (also its mode or owner) or `removed` (of a folder, with all that was in it). Bytes of `path`
    that are not UTF-8 are surrogates, as `os.fsdecode` has them.
    """

    path: str
    kind: Literal["added", "changed", "removed"]


def read_changes(fd: int) -> list[Change]:
    """The changes that the service has written to the memory file `fd`, which is closed, sorted by path."""
    with open(fd, "rb") as file:
        file.seek(0)
        records = file.read().split(b"\0")[:-1]
    return sorted((_change(record) for record in records), key=lambda change: change.path)


def _change(record: bytes) -> Change:
    kind, _, path = record.partition(b" ")
    return Change(os.fsdecode(path), cast(Literal["added", "changed", "removed"], kind.decode()))
