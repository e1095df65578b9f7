"""Digests: the names of everything that is stored by its content."""

from __future__ import annotations

import hashlib
import re
from typing import Protocol

from lxsandbox.errors import ImageError

__all__ = ["Hasher", "check_digest", "digest_of", "hasher_for", "is_digest"]

# image-spec, descriptor.md: `algorithm:encoded`; these two are the registered algorithms, and sha256 the one in use.
_FORMS = {"sha256": re.compile(r"[0-9a-f]{64}"), "sha512": re.compile(r"[0-9a-f]{128}")}


class Hasher(Protocol):
    """What hashlib's objects are here for."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def digest_of(data: bytes) -> str:
    """The digest of `data`, as `sha256:…`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Whether `text` has the form that the image-spec gives to digests."""
    algorithm, _, encoded = text.partition(":")
    form = _FORMS.get(algorithm)
    return form is not None and form.fullmatch(encoded) is not None


def check_digest(text: object, *, what: str = "digest") -> str:
    """`text`, when it is a digest in the form of the image-spec. Raises ImageError: it comes from others and becomes a path."""
    if isinstance(text, str) and is_digest(text):
        return text
    raise ImageError(f"{what} {text!r:.100} is not a digest", hint="a digest is sha256: and 64 hexadecimal digits")


def hasher_for(digest: str) -> Hasher:
    """An empty hash of the algorithm that `digest`, a checked one, names."""
    return hashlib.new(digest.partition(":")[0])
