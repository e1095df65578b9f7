"""What a sandbox's processes may use, and what becomes of the one that wants more."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import needs

from lxsandbox import HostUnsupported, Sandbox, SandboxDied

pytestmark = needs("user-namespaces", "overlayfs")

MIB = 1 << 20
EAT = "x = b'x' * (400 << 20)"


def eat(box: Sandbox) -> int:
    return box.run(["/usr/bin/python3", "-I", "-S", "-c", EAT]).returncode


@pytest.mark.parametrize("user", [None, "0:0"])
def test_resource_limits_hold_for_every_command(make_sandbox: Callable[..., Sandbox], user: str | None) -> None:
    box = make_sandbox(rlimits={"nofile": 50, "core": 0, "fsize": 4096})

    assert box.check_output(["sh", "-c", "ulimit -n; ulimit -c; ulimit -Hn"], user=user) == "50\n0\n50\n"
    assert box.run(["sh", "-c", "head -c 5000 /dev/zero > /tmp/x"], user=user).returncode != 0


def test_a_resource_limit_above_the_hosts_own_is_refused_by_name(make_sandbox: Callable[..., Sandbox]) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this host has no bound")
    box = make_sandbox(rlimits={"nofile": hard + 1})

    with pytest.raises(HostUnsupported, match=f"hard limit of {hard}"):
        box.run(["true"])


@needs("cgroup-memory")
def test_a_command_that_wants_too_much_memory_is_killed_and_counted_and_the_sandbox_lives_on(
    make_sandbox: Callable[..., Sandbox],
) -> None:
    box = make_sandbox(memory="64M", swap=0)

    assert eat(box) == -signal.SIGKILL

    stats = box.stats()
    assert stats.oom_kills == 1
    assert stats.memory_peak_bytes is not None
    assert 50 * MIB < stats.memory_peak_bytes <= 65 * MIB
    assert eat(box) == -signal.SIGKILL
    assert box.stats().oom_kills == 2
    assert box.run(["true"]).returncode == 0
    assert box.state == "running"


@needs("cgroup-memory")
def test_files_in_memory_count_as_memory(make_sandbox: Callable[..., Sandbox]) -> None:
    box = make_sandbox(memory="64M", swap=0, disk="512M")

    # Killing the command frees none of it: init may be next, and then the sandbox has died of just that.
    try:
        assert box.run(["sh", "-c", "exec head -c 200000000 /dev/zero > /big"]).returncode == -signal.SIGKILL
        assert box.run(["rm", "/big"]).returncode in (0, -signal.SIGKILL)
    except SandboxDied as died:
        assert (died.death.reason, died.death.memory_limit_bytes) == ("oom", 64 * MIB)  # noqa: PT017 - either is right


def test_the_oom_killer_prefers_any_command_to_init(make_sandbox: Callable[..., Sandbox]) -> None:
    for box in (make_sandbox(), make_sandbox(rlimits={"core": 0})):
        command = box.popen(["cat"])
        assert box.check_output(["cat", f"/proc/{command.pid}/oom_score_adj"]) == "1000\n"
        assert Path(f"/proc/{box.pid}/oom_score_adj").read_text() == Path("/proc/self/oom_score_adj").read_text()
        command.communicate()


@needs("cgroup-pids")
def test_no_more_processes_than_allowed(make_sandbox: Callable[..., Sandbox]) -> None:
    box = make_sandbox(pids=20)

    done = box.run(["sh", "-c", "for i in $(seq 40); do sleep 1000 >/dev/null 2>&1 & done; echo all"])
    assert "all" not in done.stdout
    assert (box.stats().pids or 0) <= 20


def test_a_default_limit_is_held_or_its_lack_is_said(sandbox: Sandbox) -> None:
    missing = [text.split(":")[0] for text in sandbox._control.connection.hello.missing]

    assert set(sandbox.unheld) == {"memory", "pids"} & set(missing)
