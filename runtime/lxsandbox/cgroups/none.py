"""The kind for hosts where no group can be made: sandboxes run, and no limit is held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lxsandbox.cgroups.limits import Lack, refuse_unheld, texts, unsupported
from lxsandbox.cgroups.protocol import Counters

if TYPE_CHECKING:
    from lxsandbox.cgroups.machine import Machine
    from lxsandbox.spec import Limits

__all__ = ["CgroupNone", "TreeNone"]

_LIMITS = ("memory", "swap", "cpus", "pids", "io", "cpuset", "freezer")


class CgroupNone:
    """Holds nothing: whoever made the sandbox kills it by its init's pidfd."""

    into_fd: int | None = None

    def __init__(self, lacks: Mapping[str, Lack]) -> None:
        self._lacks = lacks

    def attach(self, pid: int, *, cloned_into: bool = True) -> None:
        """Nothing to join."""

    def update(self, limits: Limits) -> None:
        refuse_unheld(limits, self._lacks)

    def members(self) -> list[int]:
        return []

    def freeze(self, *, deadline_seconds: float = 5.0) -> None:  # noqa: ARG002 - the Protocol's
        raise unsupported("freezer", self._lacks["freezer"])

    def thaw(self) -> None:
        raise unsupported("freezer", self._lacks["freezer"])

    def kill_all(self, *, deadline_seconds: float = 5.0) -> None:
        """Nothing is in it."""

    def counters(self) -> Counters:
        return Counters()

    def remove(self, *, deadline_seconds: float = 5.0) -> None:
        """Nothing to remove."""

    def close(self) -> None:
        """Nothing is open."""


class TreeNone:
    """Makes groups that hold nothing, and refuses every limit that is asked for."""

    kind = "none"

    def __init__(self, lack: Lack, machine: Machine) -> None:
        names = _LIMITS if machine.has_swap() else tuple(name for name in _LIMITS if name != "swap")
        self._lacks = dict.fromkeys(names, lack)

    @property
    def lacks(self) -> Mapping[str, str]:
        return texts(self._lacks)

    def create(self, name: str, limits: Limits) -> CgroupNone:  # noqa: ARG002 - the Protocol's
        refuse_unheld(limits, self._lacks)
        return CgroupNone(self._lacks)

    def count(self) -> int:
        return 0

    def remove(self) -> None:
        """Nothing is there."""
