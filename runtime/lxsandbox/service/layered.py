"""What the layers of snapshots have at the places where a root over the host's files is put together from parts."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lxsandbox.rootfs.host_image import HIDDEN_FOLDERS, all_submounts, is_fresh, slices
from lxsandbox.rootfs.plan import HostFacts, Layered, Slice

__all__ = ["with_layers"]


def with_layers(facts: HostFacts, layers: Sequence[str], store: str, visible: Mapping[str, str]) -> HostFacts:
    """The facts for a root over the host's files with these layers (folders of `store`, uppermost first) over them."""
    copied = tuple(path for path, mode in visible.items() if mode == "copy")
    parts, layered = _looked(tuple(layers), store, copied, facts.submounts, facts.whole_root)
    return replace(facts, slices=parts, layered=layered)


@functools.lru_cache(maxsize=64)
def _looked(
    layers: tuple[str, ...], store: str, copied: tuple[str, ...], submounts: tuple[str, ...], whole_root: bool
) -> tuple[tuple[Slice, ...], Mapping[str, Layered]]:
    # Once a run, as all facts of the host are: layers stay as they are, and each sandbox over them would wait for it.
    parts = _slices(store, whole_root)
    opened = [part.path for part in parts if part.kind == "folder" and part.path.lstrip("/") not in HIDDEN_FOLDERS]
    paths = [*submounts, *(part.path for part in parts), *copied]
    paths += [path for folder in ("", *opened) for path in _names(layers, folder) if not is_fresh(path)]
    found = {path: _look(layers, path) for path in paths}
    return parts, {path: each for path, each in found.items() if each is not None}


def _slices(store: str, whole_root: bool) -> tuple[Slice, ...]:
    """The entries of the host's root; folders that the store lies in are gone into, and the store is not shown."""
    points = [store]
    if not whole_root:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            points += all_submounts(file.read())
    found = [Slice(path=path, kind=kind, target=target) for path, kind, target in slices("", points)]
    return tuple(part for part in found if part.path != store and not part.path.startswith(f"{store}/"))


def _names(layers: Sequence[str], folder: str) -> Iterator[str]:
    for layer in layers:
        with contextlib.suppress(OSError):
            yield from (f"{folder}/{name}" for name in os.listdir(layer + folder))


def _look(layers: Sequence[str], path: str) -> Layered | None:
    """What the layers have at `path`; None where they leave it to what is below them all."""
    parts: list[str] = []
    for layer in layers:
        found, alone = _look_into(layer, path)
        if found is None and not alone:
            continue
        if found is not None and found.kind == "folder":
            parts += found.parts
        elif not parts:
            return found or Layered(kind="absent")
        if alone or (found is not None and found.kind != "folder"):
            return Layered(kind="folder", parts=tuple(parts), alone=True)
    return Layered(kind="folder", parts=tuple(parts)) if parts else None


def _look_into(layer: str, path: str) -> tuple[Layered | None, bool]:
    """What one layer has at `path`, and whether it hides what those below have there."""
    place, alone = layer, False
    names = path.strip("/").split("/")
    for depth, name in enumerate(names, start=1):
        place = f"{place}/{name}"
        try:
            status = os.lstat(place)
        except (FileNotFoundError, PermissionError):
            return None, alone
        if stat.S_ISDIR(status.st_mode):
            alone = alone or _attribute(place, "user.overlay.opaque") == b"y"
        elif depth < len(names) or _is_whiteout(place, status):
            return Layered(kind="absent"), True
        elif stat.S_ISLNK(status.st_mode):
            return Layered(kind="link", target=os.readlink(place)), True
        elif stat.S_ISREG(status.st_mode):
            stamp = f"{status.st_size} {status.st_mtime_ns}"
            return Layered(kind="file", parts=(place,), mode=stat.S_IMODE(status.st_mode), stamp=stamp), True
        else:
            return Layered(kind="absent"), True
    return Layered(kind="folder", parts=(place,)), alone


def _is_whiteout(place: str, status: os.stat_result) -> bool:
    # Of either form, see images.unpack.whiteouts.
    return (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0) or (
        stat.S_ISREG(status.st_mode) and _attribute(place, "user.overlay.whiteout") is not None
    )


def _attribute(place: str, name: str) -> bytes | None:
    try:
        return os.getxattr(place, name, follow_symlinks=False)
    except OSError:  # mostly ENODATA; EACCES of a folder that only its owner inside may look into
        return None
