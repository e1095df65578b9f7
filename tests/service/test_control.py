"""Limits of a running sandbox, pausing it, and what its main command printed."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from events import until
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.errors import SandboxError, SpecError

pytestmark = needs("user-namespaces", "overlayfs")

Make = Callable[..., Sandbox]
MIB = 1 << 20
COUNT = ["sh", "-c", "while :; do i=$((i + 1)); echo $i > /dev/shm/n; done"]


def python(code: str) -> list[str]:
    return ["/usr/bin/python3", "-I", "-S", "-c", code]


def allocates(box: Sandbox, mib: int) -> bool:
    return box.run(python(f"x = b'x' * ({mib} << 20)")).returncode == 0


@needs("cgroup-memory")
def test_memory_can_be_given_and_taken(make_sandbox: Make) -> None:
    box = make_sandbox(memory="64M", swap=0)
    assert not allocates(box, 100)

    box.update(memory="200M")
    assert allocates(box, 100)
    box.update(memory="64M")
    assert not allocates(box, 100)
    box.update(memory="max")
    assert allocates(box, 100)


@needs("cgroup-pids")
def test_the_number_of_processes_can_be_changed(make_sandbox: Make) -> None:
    box = make_sandbox(pids=10)
    script = ["sh", "-c", "for i in $(seq 30); do sleep 0.1 >/dev/null 2>&1 & done; wait; echo all"]
    assert "all" not in box.run(script).stdout

    box.update(pids=100)
    assert box.run(script).stdout == "all\n"


@needs("cgroup-cpu")
def test_the_share_of_a_processor_can_be_changed(make_sandbox: Make) -> None:
    box = make_sandbox(cpus=0.1)
    burn = python("import time\nwhile time.process_time() < 0.1: pass")
    box.run(burn, check=True)
    throttled = box.stats().cpu_throttled_seconds
    assert throttled is not None
    assert throttled > 0.1

    box.update(cpus=4)
    box.run(burn, check=True)
    again = box.stats().cpu_throttled_seconds
    assert again is not None
    assert again - throttled < throttled


@pytest.mark.parametrize("limits", [{"disk": "5M"}, {"timeout": 5}, {"image": "host"}, {"nonsense": 1}])
def test_only_limits_can_be_changed(make_sandbox: Make, limits: dict[str, object]) -> None:
    with pytest.raises(SpecError, match="no such limit"):
        make_sandbox().update(**limits)


def test_a_bad_limit_is_refused_and_changes_nothing(make_sandbox: Make) -> None:
    box = make_sandbox()
    with pytest.raises(SpecError, match="memory"):
        box.update(memory="lots")

    assert box.run(["true"]).returncode == 0


@needs("cgroup-freezer")
def test_nothing_moves_while_it_is_paused(make_sandbox: Make) -> None:
    box = make_sandbox(command=COUNT)
    counter = box.path("/dev/shm/n")
    until(lambda: counter.exists() and counter.read_text().strip(), "it counts")
    with counter.open("rb") as file:
        box.pause()
        assert box.state == "paused"
        cpu, seen = box.stats().cpu_seconds, os.pread(file.fileno(), 100, 0)
        # Freezing is complete when pause() returns; a busy loop would have used processor time in so many questions.
        for _ in range(50):
            assert os.pread(file.fileno(), 100, 0) == seen
            assert box.stats().cpu_seconds == cpu
        box.resume()

    assert box.state == "running"
    until(lambda: counter.read_text().strip() not in ("", seen.decode().strip()), "it counts on")


@needs("cgroup-freezer")
def test_pausing_twice_and_resuming_twice_is_no_error(make_sandbox: Make) -> None:
    box = make_sandbox()
    for step in (box.pause, box.pause, box.resume, box.resume):
        step()

    assert box.run(["true"]).returncode == 0


@needs("cgroup-freezer")
def test_a_paused_sandbox_says_so_and_can_be_closed(make_sandbox: Make) -> None:
    box = make_sandbox()
    box.pause()

    with pytest.raises(SandboxError, match="paused"):
        box.run(["true"])
    box.close()
    assert box.state == "exited"


@needs("cgroup-freezer")
def test_a_paused_sandbox_can_be_killed(make_sandbox: Make) -> None:
    box = make_sandbox(command=COUNT)
    box.pause()
    box.kill()

    assert box.death is not None
    assert box.death.reason == "killed"


def test_what_the_main_command_prints_is_kept_in_order(make_sandbox: Make) -> None:
    box = make_sandbox(command=["sh", "-c", "echo out; echo err >&2; echo ü; exec sleep 1000"])
    until(lambda: box.logs().count("\n") == 3, "it has printed")

    assert box.logs() == "out\nerr\nü\n"


def test_a_flood_is_kept_to_its_last_part_and_stops_nobody(make_sandbox: Make) -> None:
    box = make_sandbox(command=["sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' x; echo; echo end; exec sleep 1000"])
    until(lambda: box.logs().endswith("end\n"), "it has come to its end")

    assert MIB <= len(box.logs()) <= 2 * MIB
    assert box.run(["true"]).returncode == 0


def test_a_sandbox_without_a_main_command_has_no_logs(make_sandbox: Make) -> None:
    assert make_sandbox().logs() == ""


@needs("cgroup-memory")
def test_figures_are_those_of_the_sandbox(make_sandbox: Make) -> None:
    box = make_sandbox(memory="300M")
    assert allocates(box, 50)

    stats = box.stats()
    assert stats.memory_peak_bytes is not None
    assert stats.memory_bytes is not None
    assert 50 * MIB < stats.memory_peak_bytes < 200 * MIB
    assert stats.memory_bytes < stats.memory_peak_bytes
    assert stats.cpu_seconds is None or 0 < stats.cpu_seconds < 60  # its counter is a controller of its own
    assert stats.oom_kills == 0
