"""What the uppers of a root hold before anybody has written to it, and what lies below them: what a change is told by. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lxsandbox.rootfs.plan import Plan

__all__ = ["Made", "Upper", "uppers"]

Made = tuple[str, int, str]
"""What the runtime itself made, as (kind, mode, text). Kinds are those of an overlay's `upper`, `link` (to `text`), `copy` (of a
file with the size and time `text`), and `mount`.

What lies at a `mount` is covered inside. A folder with the mode -1 has that of the image's own, and 755 where that has none.
"""
_AS_BELOW = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Upper:
    """A folder that takes what is written below `target`, over the trees `lowers`: uppermost first, as in `Plan.trees`.

    `veiled`: over the last of them lies a folder that hides some of it, whose descriptor follows the upper's.
    """

    target: str
    lowers: list[dict[str, Any]]
    veiled: bool = False
    made: dict[str, Made] = field(default_factory=dict[str, Made])

    def below(self, path: str) -> str | None:
        """`path` as seen from `target`; None where it is not below it."""
        top = self.target.rstrip("/") + "/"
        return path[len(top) :] or None if path.startswith(top) else None


def uppers(plan: Plan, files: Sequence[tuple[str, str, int]], mount_points: Iterable[str]) -> list[Upper]:
    """The uppers of the root that `plan` made, in the order in which init has them.

    `files` (path, text, mode) is what init wrote when the root stood; `mount_points` are those of the finished root.
    """
    found: list[Upper] = []
    for step in plan.steps:
        match step["do"]:
            case "overlay":
                lowers: list[dict[str, Any]] = [plan.trees[number] for number in step["lowers"]]
                made = {path: (kind, mode, text) for kind, path, mode, text in step.get("upper", ())}
                found.append(Upper(target=step.get("target", "/"), lowers=lowers, made=made, veiled=bool(step.get("veil"))))
            case "root_from_work":
                found.append(Upper(target="/", lowers=[]))
            case "folder":
                _put(found, step["path"], ("folder", step["mode"], ""))
            case "copy_file" if step.get("stamp"):
                _put(found, step["target"], ("copy", step["mode"], step["stamp"]))
            case "link":
                _put(found, step["path"], ("link", 0, step["target"]))
            case _:
                pass
    for path, text, mode in files:
        _put(found, path, ("file", mode, text))
    for point in mount_points:
        _put(found, point, ("mount", 0, ""))
    return found


def _put(found: list[Upper], path: str, made: Made) -> None:
    """Note what was made at `path` in the upper that it lies in: the one that shows closest above it."""
    holders = [upper for upper in found if upper.below(path)]
    if not holders:
        return
    upper = max(holders, key=lambda upper: len(upper.target))
    name = upper.below(path) or ""
    parts = name.split("/")
    for depth in range(1, len(parts)):
        upper.made.setdefault("/".join(parts[:depth]), ("folder", _AS_BELOW, ""))
    upper.made[name] = made
