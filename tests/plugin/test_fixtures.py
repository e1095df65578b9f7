"""The fixtures over the real runtime: what they give, and that all of it is gone afterwards."""

from pathlib import Path

import pytest
from needs import needs

pytestmark = needs("user-namespaces", "overlayfs")

_CLEAN = "leaked: 0 processes, 0 mounts, 0 cgroups, 0 links"


def test_a_test_gets_a_running_sandbox(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import lxsandbox

        def test_it(sandbox: lxsandbox.Sandbox) -> None:
            assert sandbox.run(["echo", "hello"]).stdout == "hello\\n"
            assert sandbox.spec.image == "host"
        """
    )

    result = pytester.runpytest()

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["sandboxes: 1, start p50 * ms, p95 * ms, pool hits 0, peak memory *", _CLEAN])


def test_the_marker_says_what_the_sandbox_is(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.sandbox(memory="64M", env={"COLOUR": "red"})

        @pytest.mark.sandbox(hostname="box")
        def test_it(sandbox):
            assert sandbox.spec.memory == 64 * 2**20
            assert sandbox.check_output(["sh", "-c", "echo $COLOUR; cat /proc/sys/kernel/hostname"]) == "red\\nbox\\n"
        """
    )

    pytester.runpytest("--strict-markers").assert_outcomes(passed=1)


def test_every_test_has_a_sandbox_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("x", [1, 2])
        def test_it(sandbox, x):
            assert not sandbox.path("/tmp/mine").exists()
            sandbox.path("/tmp/mine").write_text("here")
        """
    )

    pytester.runpytest().assert_outcomes(passed=2)


def test_limits_are_on_by_default(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from lxsandbox.defaults import DEFAULT_DISK, DEFAULT_MEMORY, DEFAULT_PIDS
        from lxsandbox.units import parse_size

        def test_it(sandbox):
            assert (sandbox.spec.memory, sandbox.spec.disk) == (parse_size(DEFAULT_MEMORY), parse_size(DEFAULT_DISK))
            assert sandbox.spec.pids == DEFAULT_PIDS
            assert sandbox.spec.cpus is None
        """
    )

    pytester.runpytest().assert_outcomes(passed=1)


def test_options_set_the_limits_that_a_test_leaves_open(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(sandbox, make_sandbox, sandbox_factory):
            assert [box.spec.disk for box in (sandbox, make_sandbox(), sandbox_factory(disk=None))] == [64 * 2**20] * 3
            assert make_sandbox(disk="32M").spec.disk == 32 * 2**20
        """
    )

    pytester.runpytest("--sandbox-disk=64M").assert_outcomes(passed=1)


_RECORDS_PIDS = """
    import os
    from pathlib import Path

    def pytest_sandbox_started(sandbox):
        with Path("pids").open("a") as file:
            file.write(f"{sandbox.pid}\\n")

    def pytest_runtest_logfinish():
        alive = [pid for pid in Path("pids").read_text().split() if os.path.exists(f"/proc/{pid}")]
        with Path("alive").open("a") as file:
            file.write(f"{len(alive)}\\n")
"""


def test_what_make_sandbox_made_is_gone_when_the_test_ends(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(_RECORDS_PIDS)
    pytester.makepyfile(
        """
        def test_first(make_sandbox):
            boxes = [make_sandbox(), make_sandbox("host"), make_sandbox(image="host")]
            assert len({box.check_output(["cat", "/proc/sys/kernel/hostname"]) for box in boxes}) == 3
            boxes[1].close()

        def test_that_fails(make_sandbox):
            make_sandbox()
            raise AssertionError
        """
    )

    result = pytester.runpytest()

    result.assert_outcomes(passed=1, failed=1)
    assert len(Path("pids").read_text().split()) == 4
    assert Path("alive").read_text().split() == ["0", "0"]
    result.stdout.fnmatch_lines(["sandboxes: 4, *", _CLEAN])


def test_what_sandbox_factory_made_lives_for_the_session(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(_RECORDS_PIDS)
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="module")
        def shared(sandbox_factory):
            return sandbox_factory(name="shared")

        def test_first(shared):
            shared.path("/tmp/mine").write_text("here")

        def test_second(shared):
            assert shared.path("/tmp/mine").read_text() == "here"
        """
    )

    result = pytester.runpytest()

    result.assert_outcomes(passed=2)
    assert Path("alive").read_text().split() == ["1", "0"]
    result.stdout.fnmatch_lines(["sandboxes: 1, *", _CLEAN])


@pytest.mark.parametrize("where", ["setup", "call"])
def test_ctrl_c_leaves_nothing_behind(pytester: pytest.Pytester, where: str) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.fixture
        def box(make_sandbox):
            box = make_sandbox(command=["cat"])
            if {where!r} == "setup":
                raise KeyboardInterrupt
            return box

        def test_it(box):
            raise KeyboardInterrupt
        """
    )

    result = pytester.runpytest_subprocess()

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["sandboxes: 1, *", _CLEAN])


def test_a_lost_service_fails_the_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, signal
        from pathlib import Path

        def parent_of(pid):
            return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

        def test_it(sandbox):
            service = parent_of(sandbox.pid)
            assert "lxsandbox.service" in Path(f"/proc/{service}/cmdline").read_text()
            os.kill(service, signal.SIGKILL)
        """
    )

    result = pytester.runpytest_subprocess()

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["leaked: unknown, the sandbox service was lost"])


def test_sandboxes_may_be_made_ahead_of_need(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("x", range(4))
        def test_it(sandbox, x):
            sandbox.run(["true"], check=True)
        """
    )

    result = pytester.runpytest("--sandbox-prewarm=2")

    result.assert_outcomes(passed=4)
    result.stdout.re_match_lines([r"sandboxes: 4, .* pool hits [1-4], .*", _CLEAN])


def test_a_fork_is_gone_with_the_test_that_made_it(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    pytester.makepyfile(
        """
        forks = []

        def test_it(sandbox):
            sandbox.path("/usr/mine").write_text("x")
            fork = sandbox.fork()
            forks.extend([fork, fork.fork()])
            assert [each.path("/usr/mine").read_text() for each in forks] == ["x", "x"]

        def test_after_it():
            assert [each.state for each in forks] == ["exited", "exited"]
        """
    )

    result = pytester.runpytest()

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["sandboxes: 3, *", _CLEAN])
