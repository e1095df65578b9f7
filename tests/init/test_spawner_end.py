"""A spawner whose service has gone ends in silence: what it would say lands in a log that users are shown."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import lxsandbox
from lxsandbox import wire

SCRIPT = os.path.join(os.path.dirname(lxsandbox.__file__), "spawner", "__main__.py")
PREPARE = {"id": 1, "op": "prepare", "map": "0 0 1\n", "idmap": False}


@pytest.mark.parametrize("requests", [0, 1, 3])
def test_it_ends_without_a_word_when_nobody_waits_for_its_answer(requests: int) -> None:
    ours, theirs = wire.pair()
    with ours, theirs:
        for number in range(requests):
            wire.send(ours, {**PREPARE, "id": number})
        ours.close()  # before it is started: each of its answers finds nobody
        done = subprocess.run(
            [sys.executable, "-I", "-S", SCRIPT, str(theirs.fileno()), "host"],
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert (done.returncode, done.stderr) == (0, "")
