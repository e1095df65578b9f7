"""Rules of the house that no linter knows: file length, no waiting for time in tests, nothing left to do.

Run as a program it prints what breaks them and exits with 1; `tox -e lint` does so.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["broken_rules", "python_files"]

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("pytest_lxsandbox", "runtime", "tests", "examples", "docs")
LINES_AT_MOST = 400
# Spelled apart, so that this file does not find itself.
UNFINISHED = ("TO" + "DO", "FIX" + "ME", "X" * 3)


def python_files() -> list[Path]:
    """Every Python file of the project, in a steady order."""
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def broken_rules(path: Path) -> Iterator[str]:
    """One line for each rule that the file breaks."""
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT)
    count = len(text.splitlines())
    if count > LINES_AT_MOST:
        yield f"{name}: {count} lines, {LINES_AT_MOST} at most"
    for number, line in enumerate(text.splitlines(), start=1):
        if any(word in line for word in UNFINISHED):
            yield f"{name}:{number}: unfinished: {line.strip()}"
    if name.parts[0] in ("tests", "examples"):
        yield from (f"{name}:{number}: a test waits for the thing, not for time" for number in _sleeps(ast.parse(text)))


def _sleeps(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if called == "sleep":
                yield node.lineno


def main() -> int:
    broken = [line for path in python_files() for line in broken_rules(path)]
    for line in broken:
        print(line)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
