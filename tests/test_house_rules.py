"""The rules of the house hold for every file, and the checker finds what breaks them."""

from __future__ import annotations

from pathlib import Path

import house_rules
import pytest


def test_every_file_keeps_the_rules() -> None:
    assert [broken for path in house_rules.python_files() for broken in house_rules.broken_rules(path)] == []


def test_a_broken_rule_is_named_with_its_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house_rules, "ROOT", tmp_path)
    path = tmp_path / "tests" / "test_long.py"
    path.parent.mkdir()
    path.write_text("import time\ntime.sleep(1)\n# TO" + "DO\n" + "\n" * 400)
    found = list(house_rules.broken_rules(path))
    assert found == [
        "tests/test_long.py: 403 lines, 400 at most",
        "tests/test_long.py:3: unfinished: # TO" + "DO",
        "tests/test_long.py:2: a test waits for the thing, not for time",
    ]
