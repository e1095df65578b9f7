"""Folders that stand for an overlay's, for what looks at the changes in one."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    (tmp_path / "upper").mkdir(mode=0o755)
    return tmp_path / "upper"


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    (tmp_path / "lower").mkdir(mode=0o755)
    return tmp_path / "lower"
