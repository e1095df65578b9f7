"""Which of an index's images runs here.

Source: containerd's `platforms` module (database.go for the normal forms, compare.go for what runs on what).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from lxsandbox.errors import ImageError
from lxsandbox.images.documents import INDEX_TYPES, Descriptor, Platform

__all__ = ["candidates", "host_platform", "parse_platform", "suitable"]

# uname(2)'s machine in Go's terms; one that is not here is called the same by both.
_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
}
_SYNONYMS = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}
_OLDEST_ARM = 5
_ATTESTATION = "vnd.docker.reference.type"  # BuildKit's attestation storage: no image, though it is listed as one
_UNKNOWN = Platform(os="unknown", architecture="unknown")
_WRITTEN = re.compile(r"([a-z0-9_.-]+)/([a-z0-9_.-]+)(?:/([a-z0-9_.-]+))?", re.IGNORECASE)


def host_platform() -> Platform:
    """What this machine's kernel runs."""
    machine = os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform(architecture=architecture, variant=variant)


def parse_platform(text: str) -> Platform:
    """The platform that is written OS/ARCH[/VARIANT]. Raises ImageError."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise ImageError(f"{text!r:.100} is not OS/ARCH[/VARIANT]", hint="write it as linux/amd64 or linux/arm/v7")
    return Platform(os=found[1], architecture=found[2], variant=found[3] or "")


def candidates(manifests: Sequence[Descriptor]) -> list[Descriptor]:
    """The images among an index's entries: no attestations, and no further indexes."""
    return [each for each in manifests if each.media_type not in INDEX_TYPES and not _is_attestation(each)]


def suitable(manifests: Sequence[Descriptor], wanted: Platform) -> Descriptor | None:
    """The one that fits `wanted` best: its own variant, then older ones. An entry that names no platform comes last."""
    images = candidates(manifests)
    for accepted in _runs(_normal(wanted)):
        for image in images:
            if image.platform is not None and _normal(image.platform) == accepted:
                return image
    return next((image for image in images if image.platform is None), None)


def _is_attestation(entry: Descriptor) -> bool:
    return _ATTESTATION in entry.annotations or entry.platform == _UNKNOWN


def _normal(platform: Platform) -> Platform:
    architecture = platform.architecture.lower()
    variant = platform.variant.lower()
    architecture = _SYNONYMS.get(architecture, architecture)
    if architecture in ("armhf", "armel"):
        architecture, variant = "arm", "v7" if architecture == "armhf" else "v6"
    if architecture == "arm":
        variant = f"v{variant.removeprefix('v') or '7'}"
    if (architecture, variant) in (("arm64", "v8"), ("arm64", "8"), ("amd64", "v1")) or architecture == "386":
        variant = ""
    return Platform(os=platform.os.lower() or "linux", architecture=architecture, variant=variant)


def _runs(platform: Platform) -> Iterator[Platform]:
    """What a platform runs, the best first."""
    yield platform
    for architecture, variant in _older(platform.architecture, platform.variant):
        yield Platform(os=platform.os, architecture=architecture, variant=variant)


def _older(architecture: str, variant: str) -> Iterator[tuple[str, str]]:
    major, minor = _version(variant)
    match architecture:
        case "amd64":
            yield from ((architecture, f"v{version}") for version in range(major - 1, 1, -1))
            yield from (("amd64", ""), ("386", ""))
        case "arm":
            yield from ((architecture, f"v{version}") for version in range(major - 1, _OLDEST_ARM - 1, -1))
        case "arm64":
            yield from ((architecture, older) for older in _older_arm64(major, minor))
            yield from (("arm", f"v{version}") for version in range(8, _OLDEST_ARM - 1, -1))
        case _:
            pass


def _older_arm64(major: int, minor: int) -> Iterator[str]:
    if major == 9:
        yield from (f"v9.{version}" if version else "v9" for version in range(minor - 1, -1, -1))
        major, minor = 8, minor + 6  # v9.x has all of v8.(x+5)
    if major == 8:
        yield from (f"v8.{version}" if version else "" for version in range(minor - 1, -1, -1))


def _version(variant: str) -> tuple[int, int]:
    major, _, minor = variant.removeprefix("v").partition(".")
    digits = [int(part) if part.isascii() and part.isdigit() and len(part) < 3 else 0 for part in (major, minor)]
    return digits[0], digits[1]
