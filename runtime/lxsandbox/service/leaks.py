"""Counting what is left of sandboxes that have ended: looked up in the kernel, not in our own books."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxsandbox.service.factory import Factory

__all__ = ["count"]

_OVERDUE_SECONDS = 4.0  # below what `settle` waits: one that another client has just closed is on its way


def count(factory: Factory) -> dict[str, int]:
    """Processes, mounts, cgroups and links that are there although their sandbox has ended.

    Ask after `Factory.settle`: what is on its way out within the bound is no leak.
    """
    overdue = asyncio.get_running_loop().time() - _OVERDUE_SECONDS
    ending = [box for box in factory.boxes.values() if box.ending and box.ending_since <= overdue]
    return {
        "processes": sum(max(1, len(box.cgroup.members())) for box in ending if not box.ended.done()) + factory.stuck_processes(),
        "mounts": _mounts(),
        "cgroups": max(0, factory.tree.count() - len(factory.boxes) + len(ending)),
        "links": _links(),
    }


def _mounts() -> int:
    # The source of every file system that we mount; in a namespace that ends they end too, so none may show in the host's.
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        return sum(" lxsandbox " in line.partition(" - ")[2] for line in file)


def _links() -> int:
    return sum(name.startswith("lxs-") for name in os.listdir("/sys/class/net"))
