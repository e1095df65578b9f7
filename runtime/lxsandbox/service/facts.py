"""What the service knows of its host: collected once a run, by looking and by doing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import replace

from lxsandbox.rootfs import host_image
from lxsandbox.rootfs.plan import HostFacts, Slice
from lxsandbox.security.masks import MASKED, READ_ONLY
from lxsandbox.service.identity import Mapping

__all__ = ["collect_facts", "shown_folders", "with_sources"]


def collect_facts(mapping: Mapping) -> HostFacts:
    """The facts that planning needs. As the host's root, trees can be cloned whole and their owners shifted."""
    root = not mapping.spawner_uids
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mountinfo = file.read()
    asked = [*MASKED, *READ_ONLY, *host_image.SECRET_FILES]
    asked += [f"/{folder}" for folder in host_image.HIDDEN_FOLDERS]
    slices = [] if root else host_image.slices("", host_image.all_submounts(mountinfo))
    return HostFacts(
        idmap=root,
        whole_root=root,
        single_id=mapping.single,
        existing=frozenset(path for path in asked if os.path.lexists(path)),
        folder_modes=_parent_modes(asked),
        submounts=tuple(host_image.real_submounts(mountinfo)) if root else (),
        slices=tuple(Slice(path=path, kind=kind, target=target) for path, kind, target in slices),
    )


def with_sources(facts: HostFacts, paths: Iterable[str]) -> HostFacts:
    """The facts with these paths of the host among them; a folder stands there with a slash at its end.

    Raises FileNotFoundError for a path that does not exist.
    """
    found: set[str] = set()
    for path in paths:
        found.add(f"{path}/" if os.path.isdir(path) else path)
        os.stat(path)
    if not found:
        return facts
    return replace(facts, existing=facts.existing | found)


def _parent_modes(paths: Iterable[str]) -> dict[str, int]:
    """The modes of the folders that hold these paths, where they are not the usual ones."""
    parents = {parent for path in paths for parent in _parents(path)}
    modes = {parent: stat.S_IMODE(os.lstat(parent).st_mode) for parent in parents if os.path.isdir(parent)}
    return {parent: mode for parent, mode in modes.items() if mode != 0o755}


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(2, len(parts))]


def shown_folders(wanted: dict[str, str]) -> dict[str, str]:
    """Of the folders that a client wants its sandboxes to see, those that image `host` hides, outer ones first.

    A home folder itself, or all of /tmp, is never shown: only what lies below.
    """
    shown: dict[str, str] = {}
    for path in sorted({os.path.realpath(path): None for path in wanted if os.path.isdir(path)}, key=len):
        too_much = (
            path.lstrip("/") in host_image.HIDDEN_FOLDERS or path in ("/", "/dev", "/dev/shm") or os.path.dirname(path) == "/home"
        )
        covered = any(path.startswith(outer + "/") for outer in shown)
        if host_image.hidden(path) and not too_much and not covered and os.access(path, os.R_OK | os.X_OK):
            shown[path] = next(mode for given, mode in wanted.items() if os.path.realpath(given) == path)
    return shown
