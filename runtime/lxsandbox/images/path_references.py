"""References to images in files and folders: where the path ends and a tag begins, and that something is there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from lxsandbox.errors import ImageError
from lxsandbox.images.registry_reference import RegistryReference, parse_registry_reference

__all__ = [
    "DockerArchiveReference", "LayoutReference", "PathReference", "below", "check_path_exists", "parse_docker_archive",
    "parse_layout", "parse_path",
]  # fmt: skip

# image-spec, annotations.md, org.opencontainers.image.ref.name
_LAYOUT_WORD = r"[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*"
_LAYOUT_NAME = re.compile(rf"{_LAYOUT_WORD}(?:/{_LAYOUT_WORD})*")
_INDEX = re.compile(r"@(0|[1-9][0-9]{0,5})")

# Of each transport: whether something it reads is at a path, what that is called, and what to name.
_KINDS: dict[str, tuple[Callable[[str], bool], str, str]] = {
    "dir": (os.path.isdir, "a folder", "name the folder that holds a root file system (bin, etc, usr …)"),
    "tar": (os.path.isfile, "a file", "name a tar file of a root file system; gz, xz, bz2 and zst are read too"),
    "oci": (os.path.isdir, "a folder", "name the folder of an OCI image layout; of a tar file of one, oci-archive:FILE"),
    "oci-archive": (os.path.isfile, "a file", "name a tar file of an OCI image layout; of its folder, oci:DIR"),
    "docker-archive": (os.path.isfile, "a file", "name a file that `docker save` wrote"),
    "build": (os.path.exists, "a file or folder", "name the folder of a Containerfile, or the file itself"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PathReference:
    """A root file system in a folder or tar file, at the absolute `path`."""

    transport: Literal["dir", "tar"]
    path: str

    def __post_init__(self) -> None:
        _check_path(self.path)

    def __str__(self) -> str:
        return f"{self.transport}:{self.path}"

    def familiar(self) -> str:
        return str(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayoutReference:
    """The image `tag` of an OCI image layout, a folder or a tar file of one; with no tag, the only image there."""

    transport: Literal["oci", "oci-archive"]
    path: str
    tag: str = ""

    def __post_init__(self) -> None:
        _check_path(self.path)
        if self.tag and not _LAYOUT_NAME.fullmatch(self.tag):
            hint = "letters and digits, and between them one of - . _ : @ + / (image-spec, annotations, ref.name)"
            raise ImageError(f"tag {self.tag!r:.200} is none of an image layout", hint=hint)

    def __str__(self) -> str:
        return _with_tag(self.transport, self.path, self.tag)

    def familiar(self) -> str:
        return str(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class DockerArchiveReference:
    """An image in a file of `docker save`: by its name, or its place in the file's list; with neither, the only image there."""

    transport: Literal["docker-archive"] = field(default="docker-archive", init=False)

    path: str
    image: RegistryReference | None = None
    index: int | None = None

    def __post_init__(self) -> None:
        _check_path(self.path)
        if self.image is not None and (self.image.digest or self.index is not None):
            raise ImageError(
                "in a file of `docker save` an image has no digest", hint="write docker-archive:FILE:NAME:TAG, or FILE:@INDEX"
            )
        if self.index is not None and not _INDEX.fullmatch(f"@{self.index}"):
            raise ImageError(f"index {self.index} is none", hint="the first image of a file is 0")

    def __str__(self) -> str:
        return _with_tag(self.transport, self.path, self.image.full_name if self.image else self._place())

    def familiar(self) -> str:
        return _with_tag(
            self.transport, self.path, self.image.familiar().removeprefix("docker://") if self.image else self._place()
        )

    def _place(self) -> str:
        return "" if self.index is None else f"@{self.index}"


def parse_path(transport: Literal["dir", "tar"], rest: str, base: str) -> PathReference:
    """The reference that `TRANSPORT:` and `rest`, a path and nothing more, are. Raises ImageError."""
    return PathReference(transport=transport, path=below(base, rest))


def parse_layout(transport: Literal["oci", "oci-archive"], rest: str, base: str) -> LayoutReference:
    """The reference that `TRANSPORT:` and `rest`, `PATH[:TAG]`, are. Raises ImageError."""
    path, tag = _split_tag(transport, rest, base)
    return LayoutReference(transport=transport, path=below(base, path), tag=tag)


def parse_docker_archive(rest: str, base: str) -> DockerArchiveReference:
    """The reference that `docker-archive:` and `rest`, `FILE[:NAME]` or `FILE:@INDEX`, are. Raises ImageError."""
    path, name = _split_tag("docker-archive", rest, base)
    if name.startswith("@"):
        if not _INDEX.fullmatch(name):
            raise ImageError(f"{name!r:.100} is no index of an image", hint="write @0 for the first of the file")
        return DockerArchiveReference(path=below(base, path), index=int(name[1:]))
    return DockerArchiveReference(path=below(base, path), image=parse_registry_reference(name) if name else None)


def check_path_exists(transport: str, path: str) -> None:
    """Raises ImageError unless what the transport reads is at the path."""
    is_there, kind, hint = _KINDS[transport]
    if not is_there(path):
        shown = path if path.isprintable() else repr(path)
        raise ImageError(f"{shown} is not {kind}", hint=hint)


def _split_tag(transport: str, rest: str, base: str) -> tuple[str, str]:
    # Both sides may have colons, so what is there decides; the order is the documented one of `parse_reference`.
    if rest.endswith(":"):
        return rest[:-1], ""
    colons = [place for place, character in enumerate(rest) if character == ":"]
    if not colons:
        return rest, ""
    is_there = _KINDS[transport][0]
    ends = [colons[-1], len(rest), *reversed(colons[:-1])]
    end = next((end for end in ends if end and is_there(below(base, rest[:end]))), colons[0])
    return rest[:end], rest[end + 1 :]


def _with_tag(transport: str, path: str, tag: str) -> str:
    # The colon at the end keeps one of the path from being taken for that of a tag.
    return f"{transport}:{path}:{tag}" if tag or ":" in path else f"{transport}:{path}"


def below(base: str, path: str) -> str:
    """The absolute path, in its shortest form, that `path` is below `base`. Raises ImageError for none."""
    if not path:
        raise ImageError("it names no path", hint="write the path of a file or folder after the colon")
    joined = os.path.normpath(os.path.join(base, os.path.expanduser(path)))
    return "/" + joined.lstrip("/")  # POSIX lets two slashes at the beginning mean something else; Linux does not


def _check_path(path: str) -> None:
    if not path.startswith("/") or "\0" in path or path != below("/", path):
        raise ImageError(f"path {path!r:.200} is not absolute, or not in its shortest form")
