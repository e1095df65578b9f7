"""The names of images: which manifest each stands for, kept in the layout's `index.json` where other tools find them too."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace

from lxsandbox.errors import ImageError
from lxsandbox.images.documents import INDEX_TYPE, LARGEST_DOCUMENT_BYTES, Descriptor, Index, parse_manifest
from lxsandbox.images.store.folder import write_whole

__all__ = ["NAME_ANNOTATION", "Names", "check_name"]

NAME_ANNOTATION = "org.opencontainers.image.ref.name"  # image-spec, annotations.md, which gives its grammar as well
# That grammar, but for separators that follow one another: registries allow `a__b`, which skopeo alone then does not find.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]*(/[A-Za-z0-9][A-Za-z0-9._:@+-]*)*")
_LONGEST_NAME = 255


def check_name(name: object) -> str:
    """`name`, when an image can be called so. Raises ImageError."""
    if isinstance(name, str) and len(name) <= _LONGEST_NAME and _NAME.fullmatch(name):
        return name
    raise ImageError(
        f"an image cannot be named {name!r:.300}",
        hint=f"{_LONGEST_NAME} letters, digits, and between them . _ : @ + - and / are the most, as in alpine:3.20",
    )


class Names:
    """The entries of `index.json`. Reading takes no lock; `lock` is the one under which it is changed."""

    def __init__(self, folder: str, lock: Callable[[], AbstractContextManager[None]]) -> None:
        self._path = os.path.join(folder, "index.json")
        self._lock = lock

    def make(self) -> None:
        """An index with no entries, where there is none."""
        if not os.path.exists(self._path):
            with self._lock():
                if not os.path.exists(self._path):
                    self.write(())

    def read(self) -> dict[str, Descriptor]:
        """The name of each image, and its descriptor. Raises ImageError for a damaged index, which is then kept aside."""
        try:
            return self._parsed()
        except ImageError:
            with self._lock():  # another tool that writes it in place may have been in the midst of it
                return self.read_locked()

    def read_locked(self) -> dict[str, Descriptor]:
        """As `read`, for who holds the lock."""
        try:
            return self._parsed()
        except ImageError as error:
            raise self._put_aside(error) from None

    def write(self, entries: Iterable[tuple[str, Descriptor]]) -> None:
        """Replace all entries, for who holds the lock. Raises ImageError when they are too many to be read again."""
        index = Index(manifests=tuple(_named(descriptor, name) for name, descriptor in entries))
        data = index.as_bytes()
        if len(data) > LARGEST_DOCUMENT_BYTES:
            raise ImageError(f"{len(index.manifests)} names are more than {self._path} can hold", hint="remove some images")
        write_whole(self._path, data)

    def damaged(self) -> list[str]:
        """The indexes that were kept aside."""
        folder, prefix = os.path.split(f"{self._path}.damaged")
        return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.startswith(prefix))

    def forget_damaged(self) -> None:
        """Remove the indexes that were kept aside."""
        for path in self.damaged():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _parsed(self) -> dict[str, Descriptor]:
        try:
            with open(self._path, "rb") as file:
                data = file.read(LARGEST_DOCUMENT_BYTES + 1)
        except FileNotFoundError:
            return {}
        index = parse_manifest(data, media_type=INDEX_TYPE, what=self._path)
        if not isinstance(index, Index):
            raise ImageError(f"{self._path} is no index")
        return {
            entry.annotations[NAME_ANNOTATION]: _unnamed(entry)
            for entry in index.manifests
            if NAME_ANNOTATION in entry.annotations
        }

    def _put_aside(self, error: ImageError) -> ImageError:
        numbered = (f"{self._path}.damaged-{number}" for number in itertools.count(1))
        aside = next(path for path in numbered if not os.path.lexists(path))
        os.rename(self._path, aside)
        self.write(())
        return ImageError(
            f"the names of all images are lost: {error.message}",
            hint=f"it is kept as {aside}: mend it and move it back, or name the images again (pull, import, build): what they "
            "are made of is still there, and only `lxsandbox image prune --all` removes it",
        )


def _named(descriptor: Descriptor, name: str) -> Descriptor:
    return replace(descriptor, annotations={**descriptor.annotations, NAME_ANNOTATION: name})


def _unnamed(descriptor: Descriptor) -> Descriptor:
    left = {key: value for key, value in descriptor.annotations.items() if key != NAME_ANNOTATION}
    return replace(descriptor, annotations=left)
