"""Reading image references: which kind, and where it points. Nothing is opened here but to see that it exists."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lxsandbox.errors import ImageError

__all__ = ["Reference", "parse_reference"]

_KINDS = ("host", "dir:PATH", "tar:FILE")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """`transport` is `host`, `dir` or `tar`; `path` is absolute, and empty for `host`."""

    transport: str
    path: str = ""


def parse_reference(text: str, *, base: str = "/") -> Reference:
    """The reference that `text` is; relative paths are below `base`. Raises ImageError when it is none, or points nowhere."""
    if text == "host":
        return Reference(transport="host")
    transport, separator, rest = text.partition(":")
    if not separator or transport not in ("dir", "tar") or not rest:
        raise ImageError(f"no image {text!r}", hint=f"an image is one of {', '.join(_KINDS)}")
    path = os.path.normpath(os.path.join(base, os.path.expanduser(rest)))
    if transport == "dir" and not os.path.isdir(path):
        raise ImageError(
            f"image {text!r}: {path} is not a folder", hint="name the folder that holds a root file system (bin, etc, usr …)"
        )
    if transport == "tar" and not os.path.isfile(path):
        raise ImageError(
            f"image {text!r}: {path} is not a file",
            hint="name a tar file of a root file system; gz, xz, bz2 and zst are read too",
        )
    return Reference(transport=transport, path=path)
