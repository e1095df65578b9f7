"""Unpacked layers: `layers/<ids>/<hex of the diff id>`, each made once, moved into place whole, never changed after.

Beside each lies its seal, which says how many entries and bytes it had when it was made, and by its own time when it was last
used. A layer without a seal, or that does not have what its seal says, is made again: what a cleaner of old files, a full disk
or a loss of power took is seen so; a file whose content changed and not its size is not, nor any change after this process has
looked once. Names ending in `.part` are being made, or their maker was killed; those in `.gone` wait to be removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from lxsandbox.errors import ImageError, SandboxError
from lxsandbox.images.digests import check_digest, is_digest
from lxsandbox.images.store.folder import exclusive, make_private, remove_lock, try_exclusive, write_whole

__all__ = ["Layers", "Seal", "diff_id_of", "is_layer_key", "layer_key"]

_IDS = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
# Half of PATH_MAX (limits.h), counted from the layer's root: what is seen of a layer must not depend on where it is.
_LONGEST_PATH_BYTES = 2048
_ALGORITHMS = {64: "sha256", 128: "sha512"}  # by the length of the hex


@dataclass(frozen=True, kw_only=True, slots=True)
class Seal:
    """What a layer had when it was made: `entries` of all kinds below its root, and `bytes` of content in files.

    Folders that the user may not look into, being other ids' own, count as one entry, and so do those nested too deeply.
    """

    entries: int
    bytes: int

    @classmethod
    def of(cls, folder: str) -> Seal:
        """What the folder has now. Links are not followed."""
        entries = size = 0
        linked: set[tuple[int, int]] = set()
        for entry in _walked(folder):
            entries += 1
            if entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):  # removed just now, or in a folder that may be listed and not entered
                    found = entry.stat(follow_symlinks=False)
                    inode = (found.st_dev, found.st_ino)
                    size += 0 if inode in linked else found.st_size
                    if found.st_nlink > 1:
                        linked.add(inode)
        return cls(entries=entries, bytes=size)

    @classmethod
    def read(cls, path: str) -> Seal | None:
        """The seal in the file `path`; None where there is none, or a damaged one."""
        try:
            with open(path, "rb") as file:
                said = json.loads(file.read(4096))
            return cls(entries=int(said["entries"]), bytes=int(said["bytes"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


def layer_key(diff_id: str, *, ids: str) -> str:
    """What a layer is held by in a lease. Raises ImageError when `diff_id` is no digest, ValueError for odd `ids`."""
    if not _IDS.fullmatch(ids):
        raise ValueError(f"ids {ids!r} is no plain name")
    return f"{ids}/{check_digest(diff_id, what='diff id')}"


def is_layer_key(text: str) -> bool:
    """Whether it is one, and not a digest."""
    ids, _, diff_id = text.partition("/")
    return _IDS.fullmatch(ids) is not None and is_digest(diff_id)


def diff_id_of(key: str) -> str:
    """The digest of the layer's tar stream."""
    return key.rpartition("/")[2]


class Layers:
    """The unpacked layers of the store in `folder`. `remove` removes a folder of theirs, whatever ids its files belong to."""

    def __init__(self, folder: str, remove: Callable[[str], None]) -> None:
        self._store = folder
        self._folder = os.path.join(folder, "layers")
        self._remove = remove
        self._looked_at: set[str] = set()

    def path(self, key: str) -> str:
        """Where the layer is, or would be."""
        ids, _, diff_id = key.partition("/")
        return os.path.join(self._folder, ids, diff_id.partition(":")[2])

    def make(self, key: str, unpack: Callable[[str], None]) -> str:
        """The layer's folder; `unpack(folder)` fills a new one when there is none that is whole.

        What `unpack` raises is passed on and leaves nothing. Raises ImageError when another process takes over ten minutes.
        """
        place = self.path(key)
        if not self._is_whole(place):
            with exclusive(self._store, _lock_name(key)):
                if not self._is_whole(place):
                    self._make(place, unpack)
        with contextlib.suppress(FileNotFoundError):  # removed since, which a lease would have kept from happening
            os.utime(f"{place}.seal")
        return place

    def add(self, fill: Callable[[str], str], *, ids: str) -> str:
        """The folder of a layer whose diff id nobody knows before `fill(folder)`, which fills a new one, returns it.

        What `fill` raises is passed on and leaves nothing.
        """
        # Under a digest that is nothing's until then: what a killed maker leaves is found and removed as any other's.
        unknown = layer_key(f"sha256:{secrets.token_hex(32)}", ids=ids)
        try:
            with exclusive(self._store, _lock_name(unknown)):
                return self._adopt(fill, self.path(unknown), ids)
        finally:
            remove_lock(self._store, _lock_name(unknown))

    def _adopt(self, fill: Callable[[str], str], unknown: str, ids: str) -> str:
        diff_id = ""

        def filled(folder: str) -> None:
            nonlocal diff_id
            diff_id = fill(folder)

        part = self._part(unknown, filled)
        key = layer_key(diff_id, ids=ids)
        try:
            with exclusive(self._store, _lock_name(key)):
                if not self._is_whole(self.path(key)):
                    _put_away(self.path(key))
                    self._settle(part, self.path(key))
        finally:
            if os.path.isdir(part):
                self._remove(part)
        return self.path(key)

    def _make(self, place: str, unpack: Callable[[str], None]) -> None:
        _put_away(place)
        self._settle(self._part(place, unpack), place)

    def _part(self, place: str, unpack: Callable[[str], None]) -> str:
        """A new folder beside `place` with what `unpack` has put there."""
        make_private(os.path.dirname(place))
        part = f"{place}.part"
        if os.path.lexists(part):  # its maker was killed
            self._remove(part)
        try:
            os.mkdir(part, 0o755)
            unpack(part)
        except BaseException:
            if os.path.isdir(part):
                self._remove(part)
            raise
        return part

    def _settle(self, part: str, place: str) -> None:
        """Make the folder `part` the layer at `place`, where none is."""
        seal = Seal.of(part)
        os.rename(part, place)
        write_whole(f"{place}.seal", json.dumps(asdict(seal)).encode())
        self._looked_at.add(place)

    def _is_whole(self, place: str) -> bool:
        seal = Seal.read(f"{place}.seal")
        if seal is None or not os.path.isdir(place):
            return False
        if place not in self._looked_at:
            if Seal.of(place) != seal:
                return False
            self._looked_at.add(place)
        return True

    def keys(self) -> set[str]:
        """Of everything there: layers, and what is left of some."""
        return {key for key, _ in self._found()}

    def sealed(self) -> dict[str, int]:
        """The layers that are there, by key, with their bytes."""
        seals = {key: Seal.read(f"{self.path(key)}.seal") for key in self.keys()}
        return {key: seal.bytes for key, seal in seals.items() if seal is not None and os.path.isdir(self.path(key))}

    def last_used(self) -> dict[str, float]:
        """The time when each layer was used last, by key, in seconds since the epoch."""
        found: dict[str, float] = {}
        for key in self.keys():
            with contextlib.suppress(FileNotFoundError):
                found[key] = os.stat(f"{self.path(key)}.seal").st_mtime
        return found

    def put_away(self, key: str, *, kept: bool) -> bool:
        """Take the layer out of use, and what a killed maker left of it; of one that is `kept`, the latter alone.

        Renames only: `remove_put_away` removes. Nothing is done while somebody makes it. Whether there was a layer.
        """
        with try_exclusive(self._store, _lock_name(key)) as free:
            if not free:
                return False
            _put_away(f"{self.path(key)}.part")
            return not kept and _put_away(self.path(key))

    def remove_put_away(self, is_held: Callable[[str], bool]) -> int:
        """Remove what was put away, but for what `is_held` by its key; the bytes that were freed.

        Raises ImageError when some of it cannot be removed; the rest is, and the next call tries again.
        """
        freed = 0
        failed: list[tuple[str, Exception]] = []
        with exclusive(self._store, "removing"):
            for key, path in self._found():
                if path.endswith(".gone") and not is_held(key):
                    size = Seal.of(path).bytes
                    try:
                        self._remove(path)
                        freed += size
                    except (OSError, SandboxError) as error:
                        failed.append((path, error))
        if failed:
            path, reason = failed[0]
            message = f"{len(failed)} layers could not be removed, the first of them {path}: {reason}"
            raise ImageError(message, hint="see who may; the next prune tries again") from reason
        return freed

    def _found(self) -> Iterator[tuple[str, str]]:
        """Each thing that belongs to a layer: the layer's key, and the thing's path."""
        for ids in sorted(os.listdir(self._folder)):
            if not _IDS.fullmatch(ids):
                continue
            for name in sorted(os.listdir(os.path.join(self._folder, ids))):
                encoded = name.partition(".")[0]
                key = f"{ids}/{_ALGORITHMS.get(len(encoded), '')}:{encoded}"
                if is_layer_key(key):
                    yield key, os.path.join(self._folder, ids, name)


def _put_away(place: str) -> bool:
    """Whether there was something. The seal goes first: without one, the folder is no layer."""
    for path in (f"{place}.seal", f"{place}.seal.part"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    try:
        # Beside it: to move a folder elsewhere, one must be allowed to write into it (rename(2), EACCES), and root's ids own it.
        os.rename(place, f"{place.removesuffix('.part')}.{secrets.token_hex(6)}.gone")
    except FileNotFoundError:
        return False
    return True


def _lock_name(key: str) -> str:
    return key.replace("/", "-").replace(":", "-")


def _walked(folder: str) -> Iterator[os.DirEntry[str]]:
    start = len(os.fsencode(folder))
    waiting = [folder]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except OSError:  # not for this user to read
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and len(os.fsencode(entry.path)) - start <= _LONGEST_PATH_BYTES:
                    waiting.append(entry.path)
                yield entry
