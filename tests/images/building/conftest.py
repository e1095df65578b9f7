"""A folder to build from, a store, and workshops on plain folders."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from images.building.workshops import FolderWorkshops

from lxsandbox.images.build_reference import BuildReference
from lxsandbox.images.library import HeldImage, Library
from lxsandbox.images.store import Store

Build = Callable[..., HeldImage]


class Told:
    """What is told while an image is built."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.printed = ""

    def begin(self, digest: str, size: int) -> None: ...
    def advance(self, digest: str, count: int) -> None: ...
    def end(self, digest: str) -> None: ...

    def step(self, text: str) -> None:
        self.steps.append(text)

    def output(self, text: str) -> None:
        self.printed += text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What is built from."""
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def place() -> Iterator[Path]:
    """In memory, where a store takes a tenth of the time."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        yield Path(folder)


@pytest.fixture
def workshops(place: Path) -> FolderWorkshops:
    return FolderWorkshops(place / "shops")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def build(place: Path, folder: Path, workshops: FolderWorkshops, told: Told) -> Iterator[Build]:
    """Write the text as Containerfile, and build it, with these arguments and stage."""
    library = Library(Store(str(place / "store")), workshops=workshops)
    with ExitStack() as held:

        def build(text: str, *, target: str = "", args: tuple[str, ...] = (), **asked: bool) -> HeldImage:
            (folder / "Containerfile").write_text(text)
            reference = BuildReference(path=str(folder), target=target, args=args)
            return held.enter_context(library.get(reference, progress=told, **asked))

        yield build


@pytest.fixture
def tree(place: Path, workshops: FolderWorkshops) -> Callable[[HeldImage], Path]:
    """The files of an image, in a folder."""

    def tree(image: HeldImage) -> Path:
        return workshops.unpacked(image, Store(str(place / "store")).blobs)

    return tree
