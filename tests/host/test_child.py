"""The child is bounded in time and answers for every attempt, however that ends."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lxsandbox.host
from lxsandbox.host import NAMES
from lxsandbox.host.fixes import CONSEQUENCES, FIXES, fix_of

HOST = Path(lxsandbox.host.__file__).parent


ChildAnswer = Callable[[str], dict[str, Any]]


def test_an_attempt_that_hangs_is_killed_and_named_as_too_slow(child_answer: ChildAnswer, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    answer = child_answer(f"open({str(pids)!r}, 'w').write(str(os.getpid())); signal.pause()")
    assert answer["cause"] == "too-slow"
    assert not os.path.exists(f"/proc/{pids.read_text()}")


def test_an_attempt_that_is_killed_is_an_answer(child_answer: ChildAnswer) -> None:
    answer = child_answer("os.kill(os.getpid(), signal.SIGKILL)")
    assert answer == {"cause": "unknown", "detail": "the attempt ended with status -9"}


def test_an_attempt_that_fails_unexpectedly_is_an_answer_and_no_traceback(child_answer: ChildAnswer) -> None:
    assert child_answer("raise ValueError('odd')") == {"cause": "unknown", "detail": "ValueError: odd"}


def test_what_an_attempt_prints_does_not_garble_the_answers(child_answer: ChildAnswer) -> None:
    answer = child_answer('print("noise", flush=True); return {"pidfd": {"detail": "fine"}}')
    assert answer == {"detail": "fine"}


def _causes_in(path: Path) -> set[str]:
    """The text constants that stand as a cause in the source: those with a hyphen that are given to Lack or kept for it."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    lacks = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Lack"]
    return {
        constant.value
        for call in lacks
        for constant in ast.walk(call.args[0])
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str) and "-" in constant.value
    }


def test_every_cause_has_a_fix() -> None:
    causes = set[str]().union(*(_causes_in(path) for path in HOST.glob("*.py")))
    assert causes
    assert causes - set(FIXES) == set()


def test_every_capability_has_a_consequence() -> None:
    assert set(CONSEQUENCES) == set(NAMES)


@pytest.mark.parametrize("cause", sorted(FIXES))
def test_a_fix_is_one_line_with_every_fact_filled_in(cause: str) -> None:
    fix = fix_of("overlayfs", cause)
    assert fix
    assert "{" not in fix
    assert "\n" not in fix
