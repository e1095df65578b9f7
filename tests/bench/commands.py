"""What is done in a sandbox that lives: commands, and files copied in and out."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from lab import Lab
from table import Section, row
from timing import Contestant, in_turn

__all__ = ["measure_commands", "measure_copies"]

_MEMORY_FOLDER = "/dev/shm"
_COPIED_BYTES = 100_000_000
_HOST, _INSIDE = "subprocess.run", "box.run"
_CP, _IN, _OUT = "cp", "copy_in", "copy_out"


def measure_commands(lab: Lab, rounds: int) -> Section:
    """`true`, inside and on the host."""
    with lab.usual() as box:
        lab.rest()
        taken = in_turn(
            [
                Contestant(name=_HOST, once=lambda: subprocess.run(["true"], capture_output=True, text=True, check=False)),
                Contestant(name=_INSIDE, once=lambda: box.run(["true"])),
            ],
            rounds,
        )
    return Section(
        title="A command in a live sandbox",
        about="`true`, with its output captured as text, from the same process.",
        rows=[row(taken, _HOST), row(taken, _INSIDE, peer=_HOST, ratio_at_most=1.5)],
    )


def measure_copies(lab: Lab, rounds: int) -> Section:
    """100 MB in and out, beside cp."""
    with tempfile.TemporaryDirectory(prefix="lxsandbox-bench-", dir=_MEMORY_FOLDER) as folder, lab.usual() as box:
        source, target = Path(folder, "source"), Path(folder, "target")
        source.write_bytes(os.urandom(_COPIED_BYTES))
        inside = box.path("/tmp/copied")

        @contextmanager
        def removed_after() -> Generator[None]:
            yield
            target.unlink()

        @contextmanager
        def all_removed_after() -> Generator[None]:
            with removed_after():
                yield
            inside.unlink()

        copy = ["cp", str(source), str(target)]
        cp = Contestant(name=_CP, once=lambda: subprocess.run(copy, check=True), around=removed_after)
        copy_in = Contestant(name=_IN, once=lambda: box.copy_in(source, inside))
        copy_out = Contestant(name=_OUT, once=lambda: box.copy_out(inside, target), around=all_removed_after)
        lab.rest()
        taken = in_turn([cp, copy_in, copy_out], rounds, warm_up=1)
    return Section(
        title="100 MB copied in and out",
        about=f"From and to `{_MEMORY_FOLDER}`, one file; `cp` from there to there. Inside it lies in `/tmp`, in memory too.",
        rows=[row(taken, _CP), row(taken, _IN, peer=_CP), row(taken, _OUT, peer=_CP)],
    )
