"""What a run says: sections of a failed test, figures for junit, the summary, and that a leak fails the run."""

from xml.etree import ElementTree

import pytest
from needs import needs

from pytest_lxsandbox.figures import Figures, percentile

_REAL = needs("user-namespaces", "overlayfs")


@_REAL
def test_a_failed_test_shows_each_of_its_sandboxes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(make_sandbox):
            first = make_sandbox(name="first", disk="64M", command=["sh", "-c", "echo main says hello; exec tail -f /dev/null"])
            second = make_sandbox(name="second")
            second.close()
            third = make_sandbox(name="third", command=["sh", "-c", "exit 3"])
            while third.state == "running" or "hello" not in first.logs():
                first.run(["true"], check=True)
            raise AssertionError
        """
    )

    result = pytester.runpytest()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- sandbox first -*",
            "spec: image='host', command=*name='first', memory=512 MiB, pids=512, disk=64 MiB",
            "state: running",
            "used: *",
            "last log lines:",
            "main says hello",
            "*- sandbox second -*",
            "state: died, it was closed",
            "used: *",
            "*- sandbox third -*",
            "state: died, its main command exited with code 3",
        ]
    )


@_REAL
def test_a_failed_test_shows_why_its_sandbox_died(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.sandbox(name="box", command=["sh", "-c", "echo last words; exit 3"])
        def test_it(sandbox):
            while True:
                sandbox.run(["true"])
        """
    )

    result = pytester.runpytest()

    result.stdout.fnmatch_lines(["*- sandbox box -*", "state: died, its main command exited with code 3", "last words"])


@_REAL
def test_a_failed_test_shows_how_often_a_command_was_restarted_and_where_it_is_reached(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        SCRIPT = "echo x >> /dev/shm/n; [ $(wc -l < /dev/shm/n) = 3 ] || exit 1; echo up; exec sleep 1000"

        def test_it(make_sandbox):
            box = make_sandbox(name="box", command=["sh", "-c", SCRIPT], restart="always")
            assert "up\\n" in box.logs(follow=True)
            print("port", box.address(80)[1])
            raise AssertionError
        """
    )

    result = pytester.runpytest()

    (port,) = [line.split()[1] for line in result.outlines if line.startswith("port ")]
    result.stdout.fnmatch_lines(
        ["*- sandbox box -*", "state: running, its main command was restarted 2 times", f"ports: 127.0.0.1:{port}->80/tcp"]
    )


@needs("user-namespaces", "overlayfs", "veth", "bridge", "nftables")
def test_a_failed_test_shows_the_members_and_faults_of_its_networks(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(make_sandbox, sandbox_network):
            one, two = [make_sandbox(name=name, networks=[sandbox_network]) for name in ("one", "two")]
            print("addresses", one.ip, two.ip)
            sandbox_network.partition([one], [two])
            raise AssertionError

        def test_whole(make_sandbox, sandbox_network):
            make_sandbox(name="three", networks=[sandbox_network])
            raise AssertionError
        """
    )

    result = pytester.runpytest()

    (ips,) = [line.split()[1:] for line in result.outlines if line.startswith("addresses ")]
    result.stdout.fnmatch_lines(
        [
            "*- sandbox one -*",
            f"networks: *={ips[0]}*",
            "*- network * -*",
            f"members: one={ips[0]}*, two={ips[1]}*",
            "partition:",
            "  * -> *: 0 packets dropped, 0 bytes dropped",
            "*- sandbox three -*",
            "*- network * -*",
            "members: three=*",
            "faults: none",
        ]
    )


@_REAL
def test_a_failed_set_up_shows_them_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def database(sandbox):
            raise AssertionError

        @pytest.mark.sandbox(name="box")
        def test_it(database): ...
        """
    )

    pytester.runpytest().stdout.fnmatch_lines(["*- sandbox box -*", "state: running"])


@_REAL
def test_a_failed_test_shows_the_sandboxes_of_the_session_that_it_uses(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def shared(sandbox_factory):
            return sandbox_factory(name="shared")

        def test_user(shared):
            raise AssertionError

        def test_other():
            raise AssertionError
        """
    )

    result = pytester.runpytest()

    assert sum("- sandbox shared -" in line for line in result.outlines) == 1


@_REAL
def test_a_passed_or_expected_test_shows_none(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_passes(sandbox): ...

        @pytest.mark.xfail
        def test_fails(sandbox):
            raise AssertionError
        """
    )

    pytester.runpytest("-rA").stdout.no_fnmatch_line("*- sandbox *")


@_REAL
def test_peaks_and_times_of_a_test_go_to_junit(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(sandbox, make_sandbox): make_sandbox()\ndef test_other(): ...")

    pytester.runpytest("--junitxml=junit.xml")

    first, other = ElementTree.parse("junit.xml").iter("testcase")
    figures = {entry.get("name"): float(entry.get("value", "nan")) for entry in first.iter("property")}
    assert figures["sandbox_start_ms"] > 0
    assert set(figures) <= {"sandbox_start_ms", "sandbox_memory_peak_bytes", "sandbox_cpu_seconds"}
    assert not list(other.iter("property"))


@_REAL
@needs("cgroup-memory")
def test_the_memory_peak_of_a_test_goes_to_junit(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(sandbox): sandbox.run(['head', '-c', '20M', '/dev/zero'])")

    pytester.runpytest("--junitxml=junit.xml")

    figures = {entry.get("name"): entry.get("value", "") for entry in ElementTree.parse("junit.xml").iter("property")}
    assert 0 < int(figures["sandbox_memory_peak_bytes"]) < 512 * 2**20


def test_a_leak_fails_a_run_whose_tests_passed(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        from pytest_lxsandbox import totals
        from pytest_lxsandbox.figures import Figures

        def pytest_sessionstart(session):
            totals.add(session.config, Figures(sandboxes=1, leaked={"mounts": 2}).as_json())
        """
    )
    pytester.makepyfile("def test_it(): ...")

    result = pytester.runpytest()

    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["leaked: 0 processes, 2 mounts, 0 cgroups, 0 links"])


def test_a_run_without_sandboxes_says_nothing_of_them(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): ...")

    pytester.runpytest().stdout.no_fnmatch_line("*leaked*")


def test_figures_of_processes_add_up() -> None:
    one = Figures(sandboxes=1, start_seconds=[0.004], pool_hits=1, memory_peak_bytes=5, leaked={"links": 1}, unheld=["pids"])
    two = Figures(sandboxes=2, start_seconds=[0.001, 0.002], leaked={"links": 1}, unheld=["memory", "pids"])

    total = one + two

    assert total == Figures(
        sandboxes=3,
        start_seconds=[0.004, 0.001, 0.002],
        pool_hits=1,
        memory_peak_bytes=5,
        leaked={"processes": 0, "mounts": 0, "cgroups": 0, "links": 2},
        unheld=["memory", "pids"],
    )
    assert total.lines() == [
        "sandboxes: 3, start p50 2.0 ms, p95 4.0 ms, pool hits 1, peak memory 5 B",
        "leaked: 0 processes, 0 mounts, 0 cgroups, 2 links",
        "default limits that this host does not hold: memory, pids (see `lxsandbox doctor`)",
    ]


def test_what_nobody_could_count_is_not_clean() -> None:
    total = Figures(sandboxes=1) + Figures(sandboxes=1, leaked=None)

    assert not total.is_clean
    assert total.lines()[1] == "leaked: unknown, the sandbox service was lost"


@pytest.mark.parametrize(("percent", "value"), [(50, 5), (95, 10), (100, 10), (1, 1)])
def test_a_percentile_is_one_of_the_values(percent: int, value: int) -> None:
    assert percentile(list(range(10, 0, -1)), percent) == value
