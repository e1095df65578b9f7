"""The hooks that a conftest.py may implement: what a sandbox is going to be, and why one has ended."""

import pytest
from needs import needs

pytestmark = needs("user-namespaces", "overlayfs")


def test_a_hook_may_change_what_a_sandbox_is_going_to_be(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        from dataclasses import replace

        def pytest_sandbox_spec(item, spec):
            return replace(spec, hostname=item.name.replace("_", "-"))
        """
    )
    pytester.makepyfile("def test_named(sandbox): assert sandbox.hostname == 'test-named'")

    pytester.runpytest().assert_outcomes(passed=1)


def test_a_death_is_told_once_with_its_cause(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        def pytest_sandbox_died(sandbox, death):
            print(f"told: {death.reason} {death.exit_code}")
        """
    )
    pytester.makepyfile(
        """
        import lxsandbox
        import pytest

        @pytest.mark.sandbox(command=["sh", "-c", "exit 3"])
        def test_it(sandbox):
            with pytest.raises(lxsandbox.SandboxDied):
                while True:
                    sandbox.run(["true"])

        def test_closed(sandbox):
            sandbox.close()
        """
    )

    result = pytester.runpytest("-s")

    result.assert_outcomes(passed=2)
    assert result.stdout.str().count("told: exit 3") == 1
    result.stdout.no_fnmatch_line("*told: closed*")
