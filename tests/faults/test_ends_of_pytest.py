"""However pytest or a worker ends, killed, terminated, interrupted, timed out: nothing is left, and nothing to clean up."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from events import pause, until, wait_for_end
from faults.runs import Program, Runs, kill
from needs import needs

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp")

Start = Callable[..., Program]

PYTEST = "import sys, pytest; sys.exit(pytest.main(['-p', 'no:cacheprovider', *sys.argv[1:]]))"
CLEAN = "leaked: 0 processes, 0 mounts, 0 cgroups, 0 links"
# Each event is a file: what is printed is another's, under xdist.
TESTS = """
import os
from pathlib import Path
import pytest

def tell(event):
    Path(f"{event}.new").write_text(str(os.getpid()))
    os.rename(f"{event}.new", event)

@pytest.fixture(scope="session", autouse=True)
def shared(sandbox_factory):
    return sandbox_factory(command=["sleep", "1000"])

@pytest.fixture
def slow_to_set_up(make_sandbox):
    box = make_sandbox(command=["sleep", "1000"])
    box.popen(["setsid", "sleep", "1000"])
    tell("set-up")
    box.run(["sleep", "1000"])

def test_first(make_sandbox):
    make_sandbox().run(["true"], check=True)
    tell("first")

def test_slow(sandbox, make_sandbox):
    make_sandbox(command=["sleep", "1000"])
    sandbox.popen(["sh", "-c", "trap '' TERM; setsid sleep 1000 & sleep 1000"])
    tell("test")
    sandbox.run(["sleep", "1000"])

def test_set_up(slow_to_set_up): ...

def test_last(sandbox):
    sandbox.run(["true"], check=True)
    tell("last")
"""


@pytest.fixture
def project(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tests, and no configuration of a project above it."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return tmp_path


def _pid_of(event: str) -> int:
    return int(until(lambda: Path(event).exists() and Path(event).read_text(), f"the file {event}"))


def _name(number: signal.Signals) -> str:
    return number.name


PLACES = pytest.mark.parametrize(
    ("selected", "event"), [("slow", "test"), ("set_up", "set-up")], ids=["in-a-test", "in-the-set-up"]
)


@PLACES
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=_name)
def test_a_pytest_that_is_ended_takes_everything_with_it(
    project: Path, start: Start, runs: Runs, selected: str, event: str, number: signal.Signals
) -> None:
    program = start(PYTEST, "-k", f"test_{selected}")
    kill(_pid_of(event), number)
    inits = runs.inits()
    status, _, err = program.end()
    assert (status, err) == (-number, "")
    for pid in inits:
        wait_for_end(pid)


@PLACES
def test_ctrl_c_tears_down_and_counts_what_is_left(project: Path, start: Start, selected: str, event: str) -> None:
    program = start(PYTEST, "-k", f"test_{selected}")
    kill(_pid_of(event), signal.SIGINT)
    status, out, err = program.end()
    assert (status, err) == (pytest.ExitCode.INTERRUPTED, "")
    assert CLEAN in out


@pytest.mark.parametrize("seed", range(6))
def test_ctrl_c_at_a_random_moment_leaves_nothing(project: Path, start: Start, seed: int) -> None:
    choice = random.Random(f"interrupt {seed}")
    program = start(PYTEST, "-k", "first or last")
    if choice.randrange(2):
        _pid_of("first")
    pause(choice.random() * 0.3)
    kill(program.pid, signal.SIGINT)
    status, out, _ = program.end()
    assert status in (0, 2, -signal.SIGINT, 1)
    assert "leaked: unknown" not in out


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV], ids=_name)
def test_a_worker_that_is_ended_is_replaced_and_the_others_go_on(project: Path, start: Start, number: signal.Signals) -> None:
    program = start(PYTEST, "-n2", "--max-worker-restart=1", "-k", "first or slow or last")
    kill(_pid_of("test"), number)
    status, out, _ = program.end()
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 2 passed" in out
    assert "crashed while running 'test_it.py::test_slow'" in out
    assert CLEAN in out


def test_a_controller_that_is_killed_takes_its_workers_and_their_sandboxes(project: Path, start: Start, runs: Runs) -> None:
    program = start(PYTEST, "-n2", "-k", "slow or set_up")
    workers = [_pid_of("test"), _pid_of("set-up")]
    program.process.kill()
    for pid in workers:
        wait_for_end(pid, seconds=60)  # execnet gives them 5 s, then interrupts them, and 10 s later ends them
    program.end()


@pytest.mark.parametrize("everything", ["workers", "workers and the controller", "workers, controller and service"])
def test_all_workers_killed_at_once(project: Path, start: Start, runs: Runs, everything: str) -> None:
    program = start(PYTEST, "-n2", "--max-worker-restart=0", "-k", "slow or set_up")
    victims = [_pid_of("test"), _pid_of("set-up")]
    victims += [program.pid] if "controller" in everything else []
    victims += runs.services() if "service" in everything else []
    for pid in victims:
        kill(pid)
    program.end()
    if "service" in everything:
        assert len(runs.clean_up()) == 1


def test_a_test_that_is_timed_out_fails_alone(project: Path, start: Start) -> None:
    program = start(PYTEST, "--timeout=1", "--timeout-method=signal", "-k", "slow or last")
    status, out, err = program.end()
    assert (status, err) == (pytest.ExitCode.TESTS_FAILED, "")
    assert "Timeout (>1.0s)" in out
    assert "1 failed, 1 passed" in out
    assert CLEAN in out


def test_a_timeout_that_ends_pytest_on_the_spot_leaves_nothing(project: Path, start: Start, runs: Runs) -> None:
    program = start(PYTEST, "--timeout=1", "--timeout-method=thread", "-k", "slow")
    status, out, err = program.end()
    assert status == 1
    assert "Timeout" in out + err


def test_a_service_that_is_killed_is_named_and_the_tests_after_it_say_so_too(project: Path, start: Start, runs: Runs) -> None:
    Path("conftest.py").write_text(
        "import pytest\nfrom pathlib import Path\n@pytest.fixture\ndef gone(shared):\n"
        "    ppid = Path(f'/proc/{shared.pid}/stat').read_text().rpartition(')')[2].split()[1]\n"
        "    import os, signal; os.kill(int(ppid), signal.SIGKILL); shared.run(['sleep', '1000'])\n"
    )
    Path("test_it.py").write_text(TESTS + "\ndef test_aaa(gone): ...\ndef test_then(sandbox): ...\n")
    program = start(PYTEST, "-k", "aaa or then")
    status, out, _ = program.end()
    assert status == pytest.ExitCode.TESTS_FAILED
    assert out.count("ServiceLost: the sandbox service of this run") >= 1
    assert "leaked: unknown" in out
    assert f"{os.sep}lxsandbox{os.sep}" not in out.replace(str(runs.base), "")
    runs.clean_up()
