"""What is told while blobs are on their way, and while an image is built."""

from __future__ import annotations

from typing import Protocol, Self

__all__ = ["Meter", "Progress", "Silent"]


class Progress(Protocol):
    """Told of each blob that is transferred here, from several threads at once; a blob that is there already is not told of.

    `count` is in bytes, and below zero when a source could not go on from the middle and begins again.
    """

    def begin(self, digest: str, size: int) -> None: ...
    def advance(self, digest: str, count: int) -> None: ...
    def end(self, digest: str) -> None: ...

    def step(self, text: str) -> None:
        """A step of a build begins, or is found in the store."""

    def output(self, text: str) -> None:
        """What a step prints, as it comes: perhaps part of a line."""


class Silent:
    """Nobody looks."""

    def begin(self, digest: str, size: int) -> None:
        pass

    def advance(self, digest: str, count: int) -> None:
        pass

    def end(self, digest: str) -> None:
        pass

    def step(self, text: str) -> None:
        pass

    def output(self, text: str) -> None:
        pass


class Meter:
    """Tells of one blob, by where it stands. A context: the end is told however it comes."""

    def __init__(self, progress: Progress, digest: str, size: int) -> None:
        self._progress = progress
        self._digest = digest
        self._size = size
        self._told = 0

    def __enter__(self) -> Self:
        self._progress.begin(self._digest, self._size)
        return self

    def at(self, offset: int) -> None:
        """The first `offset` bytes are through."""
        if offset != self._told:
            self._progress.advance(self._digest, offset - self._told)
            self._told = offset

    def __exit__(self, *_: object) -> None:
        self._progress.end(self._digest)
