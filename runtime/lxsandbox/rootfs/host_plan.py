"""The part of a plan that shows the host's own files: whole, or in slices; alone, or with the layers of snapshots over them.

What of them is hidden lies in the upper where there are no layers, and else in a veil, a lower between the layers and the
host's: what a sandbox wrote to a place that is hidden is in its snapshot, and shows; what the host has there does not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lxsandbox.rootfs.host_image import HIDDEN_FOLDERS, KEPT_FOLDERS, SECRET_FILES, SHADOW
from lxsandbox.syscalls.mounts import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY

if TYPE_CHECKING:
    from lxsandbox.rootfs.plan import HostFacts, Layered, Plan, Slice

    Files = Sequence[tuple[str, str, int]]
    Entry = tuple[str, str, int, str]

__all__ = ["host_slices", "host_whole", "show_folders"]


def host_whole(made: Plan, facts: HostFacts, files: Files) -> None:
    """The host's root as one overlay, and one over each file system that is mounted on it."""
    _overlay(made, facts, "/", "", files, ())
    for path in facts.submounts:
        _overlay(made, facts, path, path, files, ())


def host_slices(made: Plan, facts: HostFacts, files: Files) -> None:
    """Each entry of the host's root by itself, as a plain user has to; and what the layers have beside them.

    With layers root has to, too: the kernel takes no lower that lies in another one, and the store may lie in the host's root.
    """
    made.do("root_from_work")
    closed: list[str] = []  # what lies below is of the layers alone
    for part in _with_added(facts):
        if any(part.path.startswith(f"{path}/") for path in closed):
            continue
        found = facts.layered.get(part.path)
        if found is None:
            _host_slice(made, facts, files, part)
        elif found.kind != "folder":
            closed.append(part.path)
            _layered_entry(made, facts, part.path, found)
        elif part.kind == "overlay" and not found.alone:
            _overlay(made, facts, part.path, part.path, files, found.parts)
        elif part.kind == "folder" and not found.alone and not _is_hidden(part.path):
            _host_slice(made, facts, files, part)
        else:
            closed.append(part.path)
            made.do("overlay", lowers=[made.tree(each, idmap=facts.idmap) for each in found.parts], target=part.path)
    known = {part.path for part in facts.slices}
    for path in facts.submounts:
        found = facts.layered.get(path)
        shown = found is None or (found.kind == "folder" and not found.alone)
        if path not in known and shown and not any(path.startswith(f"{outer}/") for outer in closed):
            _overlay(made, facts, path, path, files, () if found is None else found.parts)


def _with_added(facts: HostFacts) -> list[Slice]:
    """The slices of the host, and what only layers have in the folders that the slices are in; outer ones first."""
    from lxsandbox.rootfs.plan import Slice

    known = {part.path: part for part in facts.slices}
    opened = {"", *(part.path for part in facts.slices if part.kind == "folder" and not _is_hidden(part.path))}
    added = [path for path in facts.layered if path not in known and os.path.dirname(path).rstrip("/") in opened]
    return [known.get(path) or Slice(path=path, kind="added") for path in sorted([*known, *added])]


def _is_hidden(path: str) -> bool:
    return path.lstrip("/") in HIDDEN_FOLDERS


def _host_slice(made: Plan, facts: HostFacts, files: Files, part: Slice) -> None:
    match part.kind:
        case "overlay":
            _overlay(made, facts, part.path, part.path, files, ())
        case "link":
            made.do("link", path=part.path, target=part.target)
        case "file":
            tree = made.tree(part.path, idmap=facts.idmap, attributes=MOUNT_ATTR_RDONLY)
            made.do("bind", tree=tree, target=part.path, folder=False)
        case _:
            made.do("folder", path=part.path, mode=int(HIDDEN_FOLDERS.get(part.path.lstrip("/"), "755"), 8))


def _layered_entry(made: Plan, facts: HostFacts, path: str, found: Layered) -> None:
    """What is no folder. A file is copied: it is in the sandbox's root, which is no overlay, and may be written to."""
    if found.kind == "link":
        made.do("link", path=path, target=found.target)
    elif found.kind == "file":
        made.do("copy_file", tree=made.tree(found.parts[0], idmap=facts.idmap), target=path, mode=found.mode, stamp=found.stamp)


def _overlay(made: Plan, facts: HostFacts, target: str, top: str, files: Files, parts: Sequence[str]) -> None:
    """An overlay at `target` of the host's folder `top`, below these folders of layers."""
    lowers = [made.tree(path, idmap=facts.idmap) for path in (*parts, top or "/")]
    place: dict[str, Any] = {} if target == "/" else {"target": target}
    own = {path: ("file", mode, text) for path, text, mode in files if path != SHADOW or not parts}
    hiding = _hiding(facts) | {path: ("file", mode, text) for path, text, mode in files if path == SHADOW}
    if parts:
        made.do("overlay", lowers=lowers, upper=_entries(top, own, facts), veil=_entries(top, hiding, facts), **place)
    else:
        made.do("overlay", lowers=lowers, upper=_entries(top, hiding | own, facts), **place)


def _hiding(facts: HostFacts) -> dict[str, tuple[str, int, str]]:
    wanted: dict[str, tuple[str, int, str]] = dict.fromkeys(SECRET_FILES, ("absent", 0, ""))
    for folder, mode in HIDDEN_FOLDERS.items():
        wanted[f"/{folder}"] = ("empty", int(mode, 8), "") if folder in KEPT_FOLDERS else ("absent", 0, "")
    return {path: entry for path, entry in wanted.items() if path in facts.existing}


def _entries(top: str, wanted: Mapping[str, tuple[str, int, str]], facts: HostFacts) -> list[Entry]:
    """What a folder of an overlay of the host's `top` holds from the start, as (kind, path below it, mode, text)."""
    entries: dict[str, tuple[str, int, str]] = {}
    for path in sorted(wanted):
        if not path.startswith(top + "/"):
            continue
        for parent in _ancestors(path.removeprefix(top + "/")):
            entries.setdefault(parent, ("folder", facts.folder_modes.get(f"{top}/{parent}", 0o755), ""))
        entries[path.removeprefix(top + "/")] = wanted[path]
    return [(kind, path, mode, text) for path, (kind, mode, text) in entries.items()]


def _ancestors(path: str) -> Iterable[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def show_folders(made: Plan, facts: HostFacts, visible: Mapping[str, str]) -> None:
    """Show again what lies in a folder that is hidden: the interpreter read-only, the project copy-on-write."""
    for path, mode in visible.items():
        if mode == "copy":
            found = facts.layered.get(path)
            parts = found.parts if found is not None and found.kind == "folder" else ()
            made.do("overlay", lowers=[made.tree(each, idmap=facts.idmap) for each in (*parts, path)], target=path)
        else:
            attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
            tree = made.tree(path, idmap=facts.idmap, recursive=not facts.idmap, attributes=attributes)
            made.do("bind", tree=tree, target=path, folder=True)
