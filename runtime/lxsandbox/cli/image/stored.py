"""From what the user wrote to an image in the store, and back to the name that users see."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from dataclasses import dataclass

from lxsandbox.errors import ImageError
from lxsandbox.images.documents import Descriptor
from lxsandbox.images.library import NAMED, Library, store_name
from lxsandbox.images.references import Reference, parse_reference
from lxsandbox.images.store import Store

__all__ = ["Stored", "facts_of", "find_name", "held", "parse_here", "shown_name"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """An image in the store, with all its parts, and the reference that led to it; `name` is the canonical text of it."""

    name: str
    reference: Reference
    descriptor: Descriptor


def parse_here(library: Library, text: str) -> Reference:
    """The reference that `text` is; relative paths are below the current folder. Raises ImageError, also for `host`."""
    reference = library.parse(text, base=os.getcwd())
    if reference.transport == "host":
        raise ImageError("`host` is this machine itself, and no image", hint="`lxsandbox image ls` lists the images")
    return reference


@contextlib.contextmanager
def held(library: Library, text: str) -> Generator[Stored]:
    """The image, kept from being removed within. One in a file or folder is read into the store for that time.

    Raises ImageError when there is no such image, or when a part of it is missing.
    """
    reference = parse_here(library, text)
    if reference.transport not in NAMED:
        with library.get(reference) as found:
            yield Stored(name=str(reference), reference=reference, descriptor=found.descriptor)
        return
    name, descriptor = find_name(library.store, reference, text)
    with library.store.lease(descriptor):
        if not library.store.complete(descriptor):
            familiar = reference.familiar()
            raise ImageError(f"a part of image {familiar} is missing", hint=f"fetch it: `lxsandbox image pull '{familiar}'`")
        yield Stored(name=name, reference=reference, descriptor=descriptor)


def find_name(store: Store, reference: Reference, text: str) -> tuple[str, Descriptor]:
    """The name that the store has for the reference, written as `text`, and what it stands for. Raises ImageError."""
    names = store.names()
    for name in (store_name(reference) or text, text):  # other tools name images in a layout as they like
        if name in names:
            return name, names[name]
    familiar = reference.familiar()
    hint = f"`lxsandbox image ls` lists those that are; `lxsandbox image pull '{familiar}'` fetches it"
    raise ImageError(f"image {familiar} is not in the store", hint=hint)


def facts_of(name: str, digest: str) -> dict[str, str]:
    """What `--json` prints of an image that has the `name` in the store."""
    return {"name": shown_name(name), "reference": name, "digest": digest}


def shown_name(name: str) -> str:
    """The short text for a name in the store; read back, it leads to the same image."""
    try:
        reference = parse_reference(name, must_exist=False)
    except ImageError:
        return name  # of a plug-in's transport, or given by another tool
    return reference.familiar() if str(reference) == name else name
