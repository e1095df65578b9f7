"""An image of as many layers as there are is a sandbox like any other: Docker makes 127 at most, overlayfs stacks 500."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from images.unpack.making import END, file
from images_real.conftest import Shelf
from needs import needs

from lxsandbox import Sandbox, SandboxError

pytestmark = needs("user-namespaces", "overlayfs", "busybox")

Start = Callable[..., Sandbox]


def layers(place: Path, count: int) -> list[Path]:
    """Archives of a file of their own, of one that each changes, and of what removes the file of the one before."""
    made: list[Path] = []
    for number in range(count):
        before = file(b"layers/.wh.%d" % (number - 1)) if number % 2 else b""
        made.append(place / f"{number}.tar")
        made[-1].write_bytes(before + file(b"layers/%d" % number, b"x") + file(b"last", b"%d" % number) + END)
    return made


@pytest.mark.parametrize("count", [40, 130])
def test_all_layers_show(start: Start, shelf: Shelf, place: Path, count: int) -> None:
    image = shelf.exported(shelf.image_of([shelf.busybox(), *layers(place, count)]))

    box = start(image)

    assert box.path("/last").read_text() == str(count - 1)
    assert set(box.check_output(["ls", "/layers"]).split()) == {str(number) for number in range(1, count, 2)}
    assert box.run(["sh", "-c", "echo new > /layers/1 && rm /layers/3 && cat /layers/1"], check=True).stdout == "new\n"


@needs("root")
def test_more_layers_than_can_be_told_are_refused_by_their_count(start: Start, shelf: Shelf, place: Path) -> None:
    image = shelf.exported(shelf.image_of([shelf.busybox(), *layers(place, 220)]))

    with pytest.raises(SandboxError, match=r"198 parts at most, and this has 22\d layers and mounts") as refused:
        start(image)
    assert "fewer layers" in refused.value.hint
    assert start(shelf.layout("after")).path("/text").read_text() == "after"
