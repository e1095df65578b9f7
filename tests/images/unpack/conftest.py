"""Archives are unpacked beside a folder that must be as it was when the test is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from security.conftest import Outside


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    """A folder of the host that nothing may change."""
    made = Outside(tmp_path / "outside")
    yield made
    made.check()
