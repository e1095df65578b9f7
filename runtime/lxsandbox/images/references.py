"""Reading image references: which transport, and what it is asked for. Nothing is opened here, files are but seen to exist.

A reference is written as containers-transports(5) has it. Its canonical text, `str(reference)`, has everything filled in, is
the same for whatever means the same, and is read back as an equal reference; `familiar()` is the short text that users write.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from lxsandbox.errors import ImageError
from lxsandbox.images.build_reference import BuildReference, parse_build
from lxsandbox.images.debian_reference import DebianReference, parse_debian_reference
from lxsandbox.images.path_references import (
    DockerArchiveReference,
    LayoutReference,
    PathReference,
    check_path_exists,
    parse_docker_archive,
    parse_layout,
    parse_path,
)
from lxsandbox.images.registry_reference import RegistryReference, parse_registry_reference

__all__ = [
    "PARSERS", "BuildReference", "DebianReference", "DigestReference", "DockerArchiveReference", "HostReference",
    "LayoutReference", "Parser", "PathReference", "Reference", "RegistryReference", "check_exists", "parse_reference",
]  # fmt: skip

# How each is written, in the order that users are told them.
_FORMS: Mapping[str, str] = {
    "host": "host",
    "docker": "NAME[:TAG][@DIGEST]",
    "sha256": "sha256:HEX",
    "oci": "oci:DIR[:TAG]",
    "oci-archive": "oci-archive:FILE[:TAG]",
    "docker-archive": "docker-archive:FILE[:NAME]",
    "tar": "tar:FILE",
    "dir": "dir:PATH",
    "build": "build:PATH[?file=FILE&target=STAGE&arg=NAME=VALUE]",
    "mmdebstrap": "mmdebstrap:SUITE[?include=a,b]",
}
_OF_OTHER_TOOLS = {
    "containers-storage": "export it: `podman save --format oci-archive`, then oci-archive:FILE",
    "docker-daemon": "export it: `docker save -o FILE`, then docker-archive:FILE",
    "ostree": "check it out, then dir:PATH",
    "sif": "unpack it, then dir:PATH",
}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PORT = re.compile(r"[0-9]+/")
_PATH_STARTS = ("/", "./", "../", "~")


@runtime_checkable
class Reference(Protocol):
    """What names an image: a frozen, hashable value."""

    @property
    def transport(self) -> str:
        """The name of the transport that reads it."""
        ...

    def __str__(self) -> str:
        """The canonical text."""
        ...

    def familiar(self) -> str:
        """The short text that users write, which is read back as the same reference."""
        ...


Parser = Callable[[str, str], Reference]
"""Of what follows `NAME:` and the folder that relative paths are below, the reference. Raises ImageError."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostReference:
    """The host's own files, copy-on-write."""

    transport: Literal["host"] = field(default="host", init=False)

    def __str__(self) -> str:
        return "host"

    def familiar(self) -> str:
        return "host"


@dataclass(frozen=True, kw_only=True, slots=True)
class DigestReference:
    """An image of the store, by the digest of its manifest: a snapshot without a name. It is nowhere else, and never fetched."""

    transport: Literal["sha256"] = field(default="sha256", init=False)
    digest: str

    def __str__(self) -> str:
        return self.digest

    def familiar(self) -> str:
        return self.digest


PARSERS: Mapping[str, Parser] = {
    "docker": lambda rest, base: parse_registry_reference(rest.removeprefix("//")),  # noqa: ARG005 - a Parser
    "oci": functools.partial(parse_layout, "oci"),
    "oci-archive": functools.partial(parse_layout, "oci-archive"),
    "docker-archive": parse_docker_archive,
    "tar": functools.partial(parse_path, "tar"),
    "dir": functools.partial(parse_path, "dir"),
    "build": parse_build,
    "mmdebstrap": lambda rest, base: parse_debian_reference(rest),  # noqa: ARG005 - a Parser
}


def check_exists(reference: object) -> None:
    """Raises ImageError when the reference is one to a file or folder, and none is there."""
    if isinstance(reference, BuildReference | PathReference | LayoutReference | DockerArchiveReference):
        check_path_exists(reference.transport, reference.path)


def parse_reference(text: str, *, base: str = "/", must_exist: bool = True, parsers: Mapping[str, Parser] = PARSERS) -> Reference:
    """The reference that `text` is; relative paths are below `base`, an absolute folder, and `~` is a home.

    Where a tag may follow a path that has colons itself, the tag is what follows the last colon when the part before it exists;
    else the whole is a path when that exists; else the tag follows the last colon that has something existing before it, and
    the first colon where nothing exists. A colon at the very end says that there is no tag. `must_exist=False` is for places to
    write to. Raises ImageError when it is no reference, or points nowhere.
    """
    try:
        reference = _parsed(text, base, parsers)
        if must_exist:
            check_exists(reference)
    except ImageError as error:
        raise ImageError(f"image {text!r:.300}: {error.message}", hint=error.hint) from error.__cause__
    return reference


def _parsed(text: str, base: str, parsers: Mapping[str, Parser]) -> Reference:
    _check_text(text)
    if text == "host":
        return HostReference()
    if _DIGEST.fullmatch(text):
        return DigestReference(digest=text)
    word, colon, rest = text.partition(":")
    # `docker:27` is an image of Docker's registry; the transport is written with its slashes.
    if colon and word in parsers and (word != "docker" or rest.startswith("//")):
        return parsers[word](rest, base)
    if colon:
        _refuse_other_transport(word, rest, parsers)
    if text.startswith(_PATH_STARTS) or text in (".", ".."):
        raise ImageError("a path needs its transport before it", hint=f"write dir:{text} for a folder, tar:{text} for a tar file")
    return parse_registry_reference(text)


def _check_text(text: str) -> None:
    if not text:
        raise ImageError("it is empty", hint=_choices(PARSERS))
    if "\0" in text:
        raise ImageError("it has a NUL character", hint=_choices(PARSERS))
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ImageError(f"its character {error.object[error.start]!r} is no text") from None


def _refuse_other_transport(word: str, rest: str, parsers: Mapping[str, Parser]) -> None:
    if not word:
        raise ImageError("nothing is before its colon", hint=_choices(parsers))
    if word in _OF_OTHER_TOOLS:
        raise ImageError(f"{word}: is a transport of other tools", hint=_OF_OTHER_TOOLS[word])
    if word == "host":
        raise ImageError("nothing follows `host`", hint=f"write host alone, or docker://host:{rest} for an image of that name")
    if word in ("http", "https") and rest.startswith("//"):
        raise ImageError("it is the address of a web page", hint=f"leave {word}:// out: {rest[2:]}")
    is_path = rest.startswith(_PATH_STARTS)
    lower = word.lower()
    if is_path or (lower != word and lower in parsers and lower != "docker" and not _PORT.match(rest)):
        hint = "".join(f"did you mean {_written(near, rest)}? " for near in difflib.get_close_matches(lower, parsers, n=1))
        raise ImageError(f"there is no transport {word!r}", hint=hint + _choices(parsers))


def _written(name: str, rest: str) -> str:
    return f"docker://{rest.lstrip('/')}" if name == "docker" else f"{name}:{rest}"


def _choices(parsers: Mapping[str, Parser]) -> str:
    others = [f"{name}:…" for name in sorted(parsers) if name not in _FORMS]
    return f"an image is one of {', '.join([*_FORMS.values(), *others])}"
