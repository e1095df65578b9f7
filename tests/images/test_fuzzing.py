"""The fuzzer finds what is wrong, and says how to see it again; a few cases of each target are all right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from fuzz import running, unpacking
from fuzz.child import Said
from fuzz.headers import Headers
from fuzz.running import Run, attempted, shown
from needs import needs
from security.conftest import Outside

from lxsandbox import ImageError

FUZZ = Path(__file__).parents[1] / "fuzz"
TARGETS = ["tar", "headers", "files", "documents", "references", "pack", "streams", "answers"]


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, FUZZ, *arguments], capture_output=True, text=True, timeout=100, check=False)


@needs("user-namespaces")
def test_a_few_cases_of_each_target_are_taken_or_refused() -> None:
    done = fuzz("--cases", "40", "--seed", "1")

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    rows = [line.split() for line in done.stdout.splitlines()[2:-1]]
    assert [(name, cases, findings) for name, _, cases, _, _, findings in rows] == [(name, "40", "0") for name in TARGETS]
    assert done.stdout.splitlines()[-1] == "320 cases, 0 findings"


@needs("user-namespaces")
def test_a_case_is_shown_with_what_becomes_of_it() -> None:
    first, again = (fuzz("--only", "documents", "--seed", "5", "--case", "3") for _ in range(2))

    assert first.returncode == 0
    assert first.stdout == again.stdout
    assert first.stdout.splitlines()[-1].startswith(("taken", "refused"))


class Numbers:
    """Fails for the numbers whose remainder is one of `wrong`, by what that says."""

    name = "numbers"

    def __init__(self, **wrong: int) -> None:
        self.wrong = wrong
        self.made = 0

    def make(self, random: Random) -> int:
        self.made += 1
        return random.randrange(1000)

    def attempt(self, made: int) -> bool:
        if made % 10 == self.wrong.get("raises"):
            raise KeyError(made)
        if made % 10 == self.wrong.get("hangs"):
            while True:
                pass
        if made % 10 == self.wrong.get("controls"):
            raise ImageError("\x1b[2J")
        if made % 2:
            raise ImageError("odd")
        return True


@pytest.mark.parametrize(
    ("wrong", "kind"), [("raises", "KeyError in attempt"), ("hangs", "TooLong"), ("controls", "AssertionError")]
)
def test_a_finding_is_told_with_the_command_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: str, kind: str
) -> None:
    monkeypatch.setattr(running, "_MOST_SECONDS", 0.05)
    target = Numbers(**{wrong: 4})
    run = Run([target], 11, shares={})

    run.go_on(seconds=0, cases=30)

    said = capsys.readouterr().out
    assert 0 < run.findings < 30
    first = said.partition("FOUND by: python tests/fuzz --only numbers --seed 11 --case ")[2].split()[0]
    assert attempted(target, 11, int(first)).kind.startswith(kind)
    assert f"{run.findings} times {kind}" in run.table()


def test_cases_differ_and_are_the_same_by_their_seed() -> None:
    target = Headers()
    cases = [shown(target, 3, number) for number in range(20)]

    assert len(set(cases)) > 15
    assert cases == [shown(target, 3, number) for number in range(20)]
    assert cases != [shown(target, 4, number) for number in range(20)]


def test_what_changes_something_outside_or_ends_in_another_way_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = unpacking.Unpacking(tmp_path)
    outside: Outside = target._place.outside
    ways = {
        "": Said,
        "the child ended with -9": lambda: Said(failure="the child ended with -9"),
        "assert": lambda: (outside.file.touch(), Said())[1],
    }
    for says, way in ways.items():
        monkeypatch.setattr(unpacking, "unpacked", lambda *given, way=way, **fields: way())
        outcome = attempted(target, 1, 1)
        assert outcome.is_finding == bool(says)
        assert says in outcome.text
