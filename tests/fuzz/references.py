"""References of every transport: each is a value that its two texts are read back as, or an ImageError."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fuzz.mutation import damaged_text

from lxsandbox.errors import ImageError
from lxsandbox.images.references import parse_reference

__all__ = ["References"]

_DIGEST = "sha256:" + "0123456789abcdef" * 4
_GOOD = (
    "host", "alpine", "alpine:3.20", "library/alpine", "docker.io/library/alpine:latest", "ghcr.io/owner/name:1.0",
    "docker://build:5000/x:1", "docker-archive:x:build:5000/a:1",
    f"quay.io/a/b@{_DIGEST}", f"alpine:3@{_DIGEST}", "localhost:5000/x", "[2001:db8::1]:5000/a/b:c", "127.0.0.1/a",
    "docker://host:1", "docker://index.docker.io/a/b", "example.com/a__b/c---d.e", "oci:there:tag", "oci:there",
    "oci:/no/such:1:2", "oci-archive:file:a/b+c", "oci-archive:a:b:", "docker-archive:file:alpine:3", "docker-archive:file:@0",
    "docker-archive:x:y:z", "tar:file", "dir:there", "dir:/", "dir:~/x", "build:there", "build:../x", "mmdebstrap:bookworm",
    "mmdebstrap:trixie?include=nginx,postgresql&variant=apt&components=main,contrib&check-valid-until=no",
    "mmdebstrap:sid?mirror=http://deb.debian.org/debian", "oci:there:with:colons", "tar:there:with:colons/file",
)  # fmt: skip
_WORDS = (
    ":", "::", "@", "/", "//", ".", "..", "../", "-", "_", "__", "...", "~", "~root/", "?", "&", "=", ",", "[", "]", "%", "\0",
    "\n", " ", "A", "é", "\u017f", "\u212a", "\u0663", "\udcff", "\ud800", "host", "docker://", "docker:", "oci:", "tar:",
    "dir:", "http://", "sha256:", "@sha256:", "@0", "@007", ":latest", "localhost", "docker.io/", "library/", "x" * 130,
    "x" * 300, "9" * 20, "9" * 5000, ":0/", ":65536/", ":5000/", "include=", "mirror=https://", "variant=", "there", "file",
    "\x1b[2J", "a.b/", "0x7f.1/", "::1", "xn--", "mmdebstrap:", "build:",
)  # fmt: skip


class References:
    """References, with pieces of others put into them."""

    name = "references"

    def __init__(self, folder: Path) -> None:
        # A colon divides a path from a tag by what is there.
        self._base = folder / self.name
        for name in ("there", "there:with", "there:with:colons"):
            (self._base / name).mkdir(parents=True)
        for name in ("file", "a:b", "there:with:colons/file"):
            (self._base / name).touch()

    def make(self, random: Random) -> tuple[str, bool]:
        """A text, and whether what it names must exist."""
        text = random.choice((*_GOOD, "")) if random.random() < 0.9 else "".join(random.choices(_WORDS, k=random.randint(1, 8)))
        return damaged_text(random, text, words=_WORDS), random.random() < 0.3

    def attempt(self, made: tuple[str, bool]) -> bool:
        text, must_exist = made
        parsed = parse_reference(text, base=str(self._base), must_exist=must_exist)
        for written in (str(parsed), parsed.familiar()):
            try:
                again = parse_reference(written, base="/elsewhere", must_exist=must_exist)
            except ImageError as error:
                raise AssertionError(f"it is written as {written!r}, which is refused: {error.message}") from error
            if getattr(again, "path", "").startswith(getattr(parsed, "path", "") + ":"):
                continue  # where there is a folder `a` and one `a:b`, nothing names the image `b` in the first but `a/:b`
            assert again == parsed, f"it is written as {written!r}, which is {again!r} and not {parsed!r}"
            assert str(again) == str(parsed)
            assert hash(again) == hash(parsed)
        return True
