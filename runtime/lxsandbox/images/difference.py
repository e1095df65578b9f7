"""What differs between the files of two images, read from their layers: no service, no root, nothing unpacked."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from lxsandbox.errors import ImageError
from lxsandbox.images.compression import DAMAGE, open_decompressed
from lxsandbox.images.layer_reading import read_layer
from lxsandbox.images.layer_trees import WHITEOUT, Content, Folder, Node, Record, put_over
from lxsandbox.images.library import HeldImage
from lxsandbox.images.store import Store
from lxsandbox.images.unpack import Refused
from lxsandbox.images.unpack.headers import FOLDER

__all__ = ["Difference", "differences"]

Kind = Literal["added", "changed", "removed"]
_HOST_FILE = Record(kind=b"host")  # like no image's: a layer that has a file there has changed it


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A path that is not the same in two images; `removed` stands for a folder with all that was in it.

    Bytes of `path` that are not UTF-8 are surrogates, as `os.fsdecode` has them.
    """

    kind: Kind
    path: str


def differences(store: Store, old: HeldImage, new: HeldImage) -> list[Difference]:
    """What was added, changed and removed from `old` to `new`, sorted by path.

    A file is changed by its content, kind, mode, owner, extended attributes, or time of last change in whole seconds; a folder
    by what it is itself, and not by what is in it. Of images over the host's files the layers are compared, and this host says
    what is there where only one of them has something.

    Raises ImageError for a damaged layer, and for one image over the host's files and one that is not.
    """
    if old.config.over_host != new.config.over_host:
        raise ImageError(
            "one of the images lies over the files of the host that it runs on, and the other does not",
            hint="compare two that lie over the host, or two that do not",
        )
    layers = _Layers(store, old, new)
    found: list[Difference] = []
    in_doubt: list[tuple[str, Content, Content]] = []
    for path, before, after in _compared(layers.root(old), layers.root(new)):
        text = os.fsdecode(path)
        if (kind := _kind(before, after)) is not None:
            found.append(Difference(kind=kind, path=text))
        elif (pair := _contents(before, after)) is not None:
            in_doubt.append((text, *pair))
    layers.hash_contents([content for _, *pair in in_doubt for content in pair])
    found += [Difference(kind="changed", path=path) for path, a, b in in_doubt if a.digest != b.digest]
    return sorted(found, key=lambda each: each.path)


class _Layers:
    """The layers of two images, each read once; the contents of those that both have are hashed only where it matters."""

    def __init__(self, store: Store, old: HeldImage, new: HeldImage) -> None:
        self._store = store
        self._blobs: dict[str, str] = {}  # by diff id
        for image in (old, new):
            if len(image.manifest.layers) != len(image.config.diff_ids):
                raise ImageError(f"image {image.descriptor.digest} has more layers, or fewer, than its configuration names")
            self._blobs |= {id_: layer.digest for id_, layer in zip(image.config.diff_ids, image.manifest.layers, strict=True)}
        self._shared = set(old.config.diff_ids) & set(new.config.diff_ids)
        self._trees: dict[str, Folder] = {}

    def root(self, image: HeldImage) -> Folder:
        """All files that the image tells of; its root is opaque where there are no others."""
        root = Folder(opaque=not image.config.over_host)
        for diff_id in image.config.diff_ids:
            if diff_id not in self._trees:
                self._trees[diff_id], _ = self._read(diff_id, _none if diff_id in self._shared else _all)
            put_over(root, self._trees[diff_id])
        return root

    def hash_contents(self, contents: list[Content]) -> None:
        """Give each content its digest."""
        missing: defaultdict[str, list[Content]] = defaultdict(list)
        for content in contents:
            if not content.digest:
                missing[content.diff_id].append(content)
        for diff_id, wanted in missing.items():
            _, digests = self._read(diff_id, {content.number for content in wanted}.__contains__)
            for content in wanted:
                content.digest = digests[content.number]

    def _read(self, diff_id: str, is_hashed: Callable[[int], bool]) -> tuple[Folder, Mapping[int, str]]:
        digest = self._blobs[diff_id]
        try:
            with open_decompressed(self._store.blobs.path(digest)) as stream:
                return read_layer(stream, diff_id, is_hashed)
        except (Refused, *DAMAGE) as error:
            raise ImageError(
                f"layer {digest} is damaged: {error}", hint="remove its image, and make or fetch it again"
            ) from error


def _all(_: int) -> bool:
    return True


def _none(_: int) -> bool:
    return False


def _compared(old: Folder, new: Folder) -> Iterator[tuple[bytes, Node, Node]]:
    """Each path of which one of the trees tells, and what is there in both; what is in a removed folder is left out."""
    waiting = [(b"", old, new)]
    while waiting:
        path, before, after = waiting.pop()
        for name in before.children.keys() | after.children.keys():
            place = path + b"/" + name
            a, b = _at(before, name, place), _at(after, name, place)
            yield place, a, b
            if isinstance(b, Folder):
                waiting.append((place, a if isinstance(a, Folder) else Folder(opaque=True), b))


def _at(folder: Folder, name: bytes, place: bytes) -> Node:
    found = folder.children.get(name)
    if found is None:
        return WHITEOUT if folder.opaque else _on_host(place)
    return found


def _on_host(place: bytes) -> Node:
    try:
        found = os.lstat(place)
    except OSError:
        return WHITEOUT
    if stat.S_ISDIR(found.st_mode):
        return Folder(Record(kind=FOLDER, mode=stat.S_IMODE(found.st_mode), uid=found.st_uid, gid=found.st_gid))
    return _HOST_FILE


def _kind(before: Node, after: Node) -> Kind | None:
    """How it differs, as far as that can be told without the contents of files."""
    if before is after:
        return None
    if before is WHITEOUT:
        return "added"
    if after is WHITEOUT:
        return "removed"
    return None if _is_alike(before, after) else "changed"


def _is_alike(before: Node, after: Node) -> bool:
    if isinstance(before, Folder) and isinstance(after, Folder):
        described = before.record is not None and after.record is not None
        return before.opaque == after.opaque and (not described or before.record == after.record)
    return before == after


def _contents(before: Node, after: Node) -> tuple[Content, Content] | None:
    """The contents of two files, where they are not one and the same."""
    if isinstance(before, Record) and isinstance(after, Record) and before.content and after.content:
        return None if before.content is after.content else (before.content, after.content)
    return None
