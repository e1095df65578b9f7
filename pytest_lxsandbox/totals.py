"""The run as a whole: figures of all its processes added up, shown in the summary, and judged for leaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_lxsandbox.figures import Figures
from pytest_lxsandbox.keys import TOTAL

__all__ = ["add", "judge", "show"]


def add(config: pytest.Config, figures: Mapping[str, Any]) -> None:
    """Count the figures of one process (`Figures.as_json()`) in."""
    config.stash[TOTAL] = config.stash.get(TOTAL, Figures()) + Figures(**figures)


def judge(session: pytest.Session) -> None:
    """A run that leaked, or whose leaks nobody could count, has failed, however its tests went."""
    total = session.config.stash[TOTAL]
    if not total.is_clean and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def show(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the block of the terminal summary, if any sandbox was made."""
    total = config.stash[TOTAL]
    if not total.sandboxes:
        return
    terminalreporter.write_sep("-", "sandboxes")
    for line in total.lines():
        terminalreporter.write_line(line, red=line.startswith("leaked:") and not total.is_clean)
