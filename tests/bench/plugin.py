"""What the plugin costs a run of pytest that does not use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from table import Row, Section, row
from timing import Contestant, in_turn

__all__ = ["measure_plugin"]

_WITHOUT, _WITH = "-p no:lxsandbox", "installed, unused"
_ADDED_AT_MOST_MS = 15.0


def measure_plugin(rounds: int, folder: Path) -> Section:
    """One test that does nothing, with the plugin and without it."""
    project = folder / "project"
    project.mkdir()
    (project / "pytest.ini").write_text("[pytest]\naddopts = -q -p no:cacheprovider\n")
    (project / "test_nothing.py").write_text("def test_nothing(): pass\n")

    def pytest(*options: str) -> None:
        command = [sys.executable, "-m", "pytest", *options]
        subprocess.run(command, cwd=project, stdin=subprocess.DEVNULL, capture_output=True, check=True)

    taken = in_turn(
        [
            Contestant(name=_WITHOUT, once=lambda: pytest("-p", "no:lxsandbox")),
            Contestant(name=_WITH, once=pytest),
        ],
        rounds,
        warm_up=1,
    )
    added_ms = taken[_WITH].median - taken[_WITHOUT].median
    added = Row(
        name="added",
        cells=["", f"{added_ms:.2f}", "", "", "", ""],
        target=f"≤ {_ADDED_AT_MOST_MS:g} ms",
        met=added_ms <= _ADDED_AT_MOST_MS,
    )
    return Section(
        title="pytest with the plugin installed and unused",
        about="`python -m pytest` on one test that does nothing, from start to exit.",
        rows=[row(taken, _WITHOUT), row(taken, _WITH, peer=_WITHOUT), added],
    )
