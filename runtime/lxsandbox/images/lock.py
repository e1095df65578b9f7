"""The lock file: which manifest each image is, for each platform, so that every run has the images of the day it was written.

It is TOML, sorted, with a line for each platform: to be kept with the tests, and read in a diff.

    version = 1

    [image."alpine:3.20"]
    "linux/amd64" = "sha256:…"
    "linux/arm64/v8" = "sha256:…"
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from lxsandbox.errors import ImageError
from lxsandbox.images.digests import check_digest
from lxsandbox.images.documents import MANIFEST_TYPE, Descriptor, Platform
from lxsandbox.images.platforms import parse_platform, suitable
from lxsandbox.images.references import DebianReference, DigestReference, Reference, RegistryReference, parse_reference

__all__ = ["Digests", "Lock", "check_lockable"]

Digests = Mapping[Platform, str]
"""The digest of an image's manifest, for each platform that it is there for."""

_VERSION = 1
_HEAD = "# What each image is, for each platform. Written by `lxsandbox image lock`, which also brings it up to date.\n"
# https://snapshot.debian.org: the archive as it was at that second, for ever.
_SNAPSHOT = re.compile(r"/[0-9]{8}T[0-9]{6}Z(/|$)")
_TO_A_REGISTRY = "name it (`lxsandbox image import` or `image build`), send it to a registry (`image push`), and lock it there"
_REASONS = {
    "host": ("it is this machine itself", "it needs none: nothing is fetched for it"),
    "sha256": ("it is in this store alone", _TO_A_REGISTRY),
    "build": ("what its steps fetch is something else another day", _TO_A_REGISTRY),
    "mmdebstrap": (
        "it is made of the packages of the day",
        "choose the day, which takes the place of a lock: mirror=http://snapshot.debian.org/archive/debian/20260101T000000Z",
    ),
}
_OF_FILES = ("it is in a file or folder, which others have not, or another one", _TO_A_REGISTRY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """What the file at `path` says; with no images where there is none."""

    path: str
    images: Mapping[RegistryReference, Digests] = field(default_factory=dict[RegistryReference, Digests])

    @classmethod
    def read(cls, path: str) -> Lock:
        """Raises ImageError for a file that is no such lock, or of another version; OSError where it cannot be read."""
        try:
            with open(path, "rb") as file:
                data = tomllib.load(file)
        except FileNotFoundError:
            return cls(path=path)
        except ValueError as error:  # TOML's and UTF-8's
            raise _broken(path, str(error)) from None
        if data.get("version") != _VERSION:
            message = f"{path} is of version {data.get('version')!r:.20}, and {_VERSION} is read here"
            raise ImageError(message, hint="update pytest-lxsandbox, or make it anew: `lxsandbox image lock`")
        try:
            return cls(path=path, images=dict(_entries(data.get("image", {}))))
        except ImageError as error:
            raise _broken(path, error.message) from None

    def with_images(self, images: Mapping[RegistryReference, Digests]) -> Lock:
        """The same with these images, added or in place of what it says of them."""
        return replace(self, images={**self.images, **images})

    def as_text(self) -> str:
        """What the file is to hold; equal locks give equal text."""
        tables = [_HEAD + f"version = {_VERSION}\n"]
        for name, digests in sorted((reference.familiar(), digests) for reference, digests in self.images.items()):
            lines = sorted(f"{_quoted(str(platform))} = {_quoted(digest)}\n" for platform, digest in digests.items())
            tables.append(f"[image.{_quoted(name)}]\n{''.join(lines)}")
        return "\n".join(tables)

    def pinned(self, reference: Reference, platform: Platform) -> Reference:
        """What a locked run takes for `reference` on `platform`: the same, by its digest.

        Passed as they are: `host`, what the user wrote with its digest, and a Debian system of a snapshot of the archive.
        Raises ImageError, with the command that helps, for what this lock does not pin.
        """
        if _is_pinned_by_itself(reference) and reference not in self.images:
            return reference
        if not isinstance(reference, RegistryReference):
            check_lockable(reference)
        elif reference in self.images:
            return replace(reference, digest=self._digest(reference, platform))
        raise ImageError(f"image {reference.familiar()} is not pinned in {self.path}", hint=f"add it: {self._command(reference)}")

    def has(self, reference: RegistryReference, platform: Platform) -> bool:
        """Whether the image is pinned for the platform, or for one that it can run too."""
        return self._suitable(reference, platform) is not None

    def _digest(self, reference: RegistryReference, platform: Platform) -> str:
        found = self._suitable(reference, platform)
        if found is None:
            others = ", ".join(sorted(map(str, self.images[reference]))) or "nothing"
            raise ImageError(
                f"image {reference.familiar()} is pinned in {self.path} for {others}, and not for {platform}",
                hint=f"if it is there for {platform} now: {self._command(reference)}",
            )
        return found.digest

    def _suitable(self, reference: RegistryReference, platform: Platform) -> Descriptor | None:
        digests = self.images.get(reference, {})
        listed = [Descriptor(media_type=MANIFEST_TYPE, digest=each, size=0, platform=of) for of, each in digests.items()]
        return suitable(listed, platform)

    def _command(self, reference: Reference) -> str:
        return f"`lxsandbox image lock --file {shlex.quote(self.path)} {shlex.quote(reference.familiar())}`"


def check_lockable(reference: Reference) -> RegistryReference:
    """The reference, when a lock can pin what it names. Raises ImageError with the reason why not."""
    if isinstance(reference, RegistryReference):
        return reference
    if isinstance(reference, DebianReference) and _is_pinned_by_itself(reference):
        raise ImageError(f"image {reference.familiar()} needs no lock: its mirror is a snapshot, which does not change")
    why, hint = _REASONS.get(reference.transport, _OF_FILES)
    raise ImageError(f"image {reference.familiar()} cannot be locked: {why}", hint=hint)


def _is_pinned_by_itself(reference: Reference) -> bool:
    match reference:
        case DigestReference():
            return True
        case RegistryReference():
            return bool(reference.digest)
        case DebianReference():
            return _SNAPSHOT.search(reference.mirror) is not None
        case _:
            return reference.transport == "host"


def _entries(data: object) -> Iterator[tuple[RegistryReference, Digests]]:
    for name, digests in _table(data, "image").items():
        reference = check_lockable(parse_reference(name, must_exist=False))
        pairs = _table(digests, f"image {name}").items()
        yield reference, {parse_platform(text): check_digest(each, what=f"image {name}: digest") for text, each in pairs}


def _table(data: object, what: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ImageError(f"{what} is no table")
    return cast("dict[str, Any]", data)


def _quoted(text: str) -> str:
    return json.dumps(text)  # of what is written here, the two quote alike


def _broken(path: str, why: str) -> ImageError:
    hint = "take it from version control, or remove it and make it anew: `lxsandbox image lock REF...`"
    return ImageError(f"{path} is no lock of images: {why}", hint=hint)
