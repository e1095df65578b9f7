"""The fixture `sandbox_network` and the marker's `networks`, in pytest itself."""

from __future__ import annotations

import os

import pytest
from needs import needs

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp", "veth", "bridge")

CLEAN = "leaked: 0 processes, 0 mounts, 0 cgroups, 0 links"


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    # Of the outer run there is one alarm for each process already.
    return pytester.runpytest_subprocess("-p", "no:timeout", *arguments)


def test_a_network_is_gone_when_its_test_ends_whatever_the_order_of_fixtures(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from lxsandbox import SandboxError

        seen = []

        @pytest.mark.parametrize("again", range(2))
        def test_network_first(sandbox_network, make_sandbox, again):
            box = make_sandbox(networks=[sandbox_network], name="db")
            assert list(sandbox_network.members) == ["db"]
            assert box.ip
            seen.append(sandbox_network.name)

        def test_network_last(make_sandbox, sandbox_network):
            make_sandbox(networks=[sandbox_network], name="db")
            seen.append(sandbox_network.name)

        def test_they_are_gone(make_sandbox):
            assert len(set(seen)) == 3
            for name in seen:
                with pytest.raises(SandboxError, match="no network " + name):
                    make_sandbox(networks=[name])
        """
    )

    result = run(pytester)

    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines([CLEAN])


def test_the_marker_takes_networks_and_aliases_as_text(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.sandbox(networks=["backend"], aliases=["db"])
        def test_named(sandbox, make_sandbox):
            other = make_sandbox(networks=["backend"])
            assert sandbox.ip in other.check_output(["getent", "ahostsv4", "db"])
        """
    )

    result = run(pytester)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([CLEAN])


def test_a_marker_with_an_alias_that_is_no_host_name_is_a_usage_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.sandbox(networks=["backend"], aliases=["d b"])
        def test_wrong(sandbox):
            pass
        """
    )

    result = run(pytester)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_wrong: sandbox marker: aliases holds 'd b', which is not a host name*"])


def test_workers_have_networks_of_one_name_apart(pytester: pytest.Pytester) -> None:
    os.mkfifo("meeting")
    pytester.makepyfile(
        """
        import os
        import pytest

        @pytest.mark.parametrize("again", range(2))
        def test_both_at_once(make_sandbox, sandbox_network, worker_id, again):
            db = make_sandbox(networks=["backend", sandbox_network], name="db")
            if again == 0:  # the opening of either end of a FIFO waits for the other
                os.close(os.open("meeting", os.O_RDONLY if worker_id == "gw0" else os.O_WRONLY))
            client = make_sandbox(networks=["backend"])
            told = client.check_output(["getent", "ahostsv4", "db"])
            assert {line.split()[0] for line in told.splitlines()} == {db.ip}
        """
    )

    result = run(pytester, "-n2", "--dist=each")

    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines([CLEAN])
