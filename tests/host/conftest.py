"""Probing under real constraints: in a process that was first put where a capability is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import lxsandbox.host

SOURCE_ROOT = Path(lxsandbox.host.__file__).resolve().parents[2]
PROBE_AND_PRINT = """
import json, sys
from lxsandbox.host import probe
print(json.dumps({each.name: each.as_json() for each in probe(sys.argv[1:] or None)}))
"""

Answers = dict[str, dict[str, Any]]


def _answers(command: Sequence[str], env: dict[str, str] | None) -> Answers:
    environment = os.environ | {"PYTHONPATH": str(SOURCE_ROOT)} | (env or {})
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    answers: Answers = json.loads(done.stdout)
    return answers


@pytest.fixture
def probe_after() -> Callable[..., Answers]:
    """Probe after some shell commands, as root of a user and mount namespace that is gone afterwards.

    `before` is Python that is run in the same process, ahead of the probing.
    """

    def probe_after(setup: str, *names: str, env: dict[str, str] | None = None, before: str = "") -> Answers:
        wrapped = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", f'{setup}\nexec "$@"', "sh"]
        return _answers([*wrapped, sys.executable, "-c", before + PROBE_AND_PRINT, *names], env)

    return probe_after


@pytest.fixture
def probe_as_plain_user() -> Callable[..., Answers]:
    """Probe as a plain user: as this one, or as `nobody` where the suite is run by root."""
    prefix, python = _plain_user()

    def probe_as_plain_user(*names: str, env: dict[str, str] | None = None) -> Answers:
        return _answers([*prefix, python, "-c", PROBE_AND_PRINT, *names], env)

    return probe_as_plain_user


def _plain_user() -> tuple[list[str], str]:
    """What to put before a command so that a plain user runs it, and a Python that this user can start."""
    setpriv, env = shutil.which("setpriv"), shutil.which("env")
    if os.geteuid() != 0:
        return [], sys.executable
    if setpriv is None or env is None:
        pytest.skip("there is no setpriv on this host")
    prefix = [setpriv, "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", env, "USER=nobody", "LOGNAME=nobody"]
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        check = [*prefix, python, "-c", "import sys, lxsandbox.spec; sys.exit(sys.version_info < (3, 11))"]
        done = subprocess.run(check, capture_output=True, check=False, env=os.environ | {"PYTHONPATH": str(SOURCE_ROOT)})
        if done.returncode == 0:
            return prefix, python
    pytest.skip("no Python 3.11 that user nobody can start")


@pytest.fixture
def child_answer(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """What the child says of capability `pidfd` when the given Python is its attempt."""

    def child_answer(attempt: str) -> dict[str, Any]:
        program = f"""
import os, signal
from lxsandbox.host import child
def attempt(scratch):
    {attempt}
child.ATTEMPT_SECONDS = 0.3
child.ATTEMPTS = {{("pidfd",): attempt}}
child.main([{str(tmp_path)!r}, "pidfd"])
"""
        return _answers([sys.executable, "-c", program], None)["pidfd"]

    return child_answer
