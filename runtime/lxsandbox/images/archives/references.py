"""Names of images as `docker save` has them: what a short one stands for."""

from __future__ import annotations

import re

from lxsandbox.errors import ImageError

__all__ = ["familiar"]

# distribution's reference package: a host with dots, a port or localhost; a path in small letters; a tag.
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY_TAG = re.compile(
    rf"(?:(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:[0-9]))(?::[0-9]{{1,5}})?/)?"
    rf"{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
)
_LONGEST = 512


def familiar(name: str) -> str:
    """`name` as Docker shows it: without docker.io/library/, and with its tag. Raises ImageError for what is no name."""
    if len(name) > _LONGEST or not _REPOSITORY_TAG.fullmatch(name):
        raise ImageError(f"{name!r:.100} is no name of an image", hint="it is written NAME:TAG, as in alpine:3.20")
    short = name.removeprefix("docker.io/")
    if short.count("/") == 1:
        short = short.removeprefix("library/")
    return short if ":" in short.rpartition("/")[2] else f"{short}:latest"
