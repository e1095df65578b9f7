"""SIGKILL of each process at a random moment, a hundred times: what is said, what goes on, and that nothing is left.

A round is its seed: it fails again as it failed, within what the scheduler lets be repeated.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from events import pause, wait_for_end
from faults.runs import Program, Runs, kill
from needs import needs

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp")

Start = Callable[..., Program]

# A line for each event that a fault may follow. Each sandbox has a main command, and a command with a child in a new session.
CROWD = """
import sys
from lxsandbox import Sandbox, SandboxError
print("begun", flush=True)
try:
    boxes = []
    for number in range(4):
        boxes.append(Sandbox(command=["sleep", "1000"], disk="8M"))
        print("made", flush=True)
        boxes[-1].popen(["sh", "-c", "setsid sleep 1000 & exec sleep 1000"])
        print("busy", flush=True)
        boxes[-1].run(["true"])
        print("ran", flush=True)
    for box in boxes:
        box.close()
        print("closed", flush=True)
except SandboxError as error:
    print(type(error).__name__, error.message, flush=True)
    sys.exit(3)
print("done", flush=True)
"""
EVENTS = 1 + 3 * 4 + 4
MOST_DELAY_SECONDS = 0.03


def _at_a_random_moment(program: Program, seed: str) -> None:
    """Wait for some of the program's events, and then for some time that is shorter than most of what it does."""
    choice = random.Random(seed)
    for _ in range(choice.randrange(EVENTS + 1)):
        assert program.line()
    pause(choice.random() ** 2 * MOST_DELAY_SECONDS)


def _end(program: Program) -> tuple[int, str]:
    status, out, err = program.end()
    assert err == ""
    return status, out.splitlines()[-1] if out else ""


@pytest.mark.parametrize("seed", range(25))
def test_a_killed_client_leaves_nothing_and_nothing_to_clean_up(runs: Runs, start: Start, seed: int) -> None:
    program = start(CROWD)
    _at_a_random_moment(program, f"client {seed}")
    program.process.kill()
    program.end()
    if not runs.services():  # it had not come so far, and its folder is there for the next start
        runs.clean_up()


@pytest.mark.parametrize("seed", range(20))
def test_a_killed_service_takes_its_sandboxes_with_it_and_the_client_is_told(runs: Runs, start: Start, seed: int) -> None:
    program = start(CROWD)
    _at_a_random_moment(program, f"service {seed}")
    inits = runs.inits()
    for pid in runs.services():
        kill(pid)
    status, last = _end(program)
    assert (status, last) == (0, "done") or (status == 3 and last.startswith(("ServiceLost ", "SandboxDied ")))
    for pid in inits:
        wait_for_end(pid)
    runs.clean_up()


@pytest.mark.parametrize("seed", range(20))
def test_a_killed_spawner_is_replaced_and_nobody_notices(runs: Runs, start: Start, seed: int) -> None:
    program = start(CROWD)
    _at_a_random_moment(program, f"spawner {seed}")
    for pid in runs.spawners():
        kill(pid)
    status, last = _end(program)
    assert (status, last) == (0, "done")


@pytest.mark.parametrize("seed", range(15))
def test_a_killed_init_is_the_end_of_its_sandbox_and_of_no_other(runs: Runs, start: Start, seed: int) -> None:
    program = start(CROWD)
    _at_a_random_moment(program, f"init {seed}")
    inits = runs.inits()
    if inits:
        kill(random.Random(seed).choice(inits))
    status, last = _end(program)
    assert (status, last) == (0, "done") or (status == 3 and "died" in last)


@pytest.mark.parametrize("seed", range(20))
def test_all_killed_at_once_leaves_what_the_next_start_removes(runs: Runs, start: Start, seed: int) -> None:
    program = start(CROWD)
    _at_a_random_moment(program, f"all {seed}")
    inits = runs.inits()
    everything = [program.pid, *runs.services(), *runs.spawners(), *inits]
    random.Random(seed).shuffle(everything)
    for pid in everything:
        kill(pid)
    program.end()
    for pid in everything:
        wait_for_end(pid)
    runs.clean_up()
