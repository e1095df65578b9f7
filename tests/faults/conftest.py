"""Runs of their own for every test: what is killed here is never the service of the suite."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.runs import SOURCE_ROOT, Program, Runs

# An inner run of pytest in this process drops every module that it is the first to load, and would then know classes twice.
import lxsandbox.sandbox.sandbox
import pytest_lxsandbox.outcomes
import pytest_lxsandbox.report
import pytest_lxsandbox.totals

__all__ = ["lxsandbox", "pytest_lxsandbox"]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    """Where all runs of the test are, the inner ones of pytest too. Nothing may be left of them, nor wait to be cleaned up."""
    for name in [name for name in os.environ if name.startswith("LXSANDBOX_SANDBOX_")]:
        monkeypatch.delenv(name)  # CI sets one of them for the whole suite
    with tempfile.TemporaryDirectory(prefix="lx-") as folder:  # not `tmp_path`: too long for a socket's name (unix(7): 108 bytes)
        monkeypatch.setenv("LXSANDBOX_RUNTIME_DIR", folder)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCE_ROOT), os.environ.get("PYTHONPATH", "")]))
        found = Runs(Path(folder))
        yield found
        found.wait_until_left()
        assert found.folders() == []


@pytest.fixture
def start(runs: Runs) -> Iterator[Callable[..., Program]]:
    """Start a Python program, with `runs` as where its runs are; it is killed at the end of the test if it still runs."""
    started: list[Program] = []

    def start(code: str, *arguments: str) -> Program:
        started.append(Program(code, *arguments))
        return started[-1]

    yield start
    for program in started:
        program.close()
