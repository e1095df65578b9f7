"""What a test becomes on a host that cannot run it, and how errors of the set-up are shown."""

import pytest

_LACKS = """
    import pytest
    from lxsandbox import HostUnsupported

    @pytest.fixture
    def rare():
        raise HostUnsupported("sandboxes need overlayfs, and this kernel has none", hint="run `modprobe overlay`")

    def test_setup(rare): ...

    def test_call():
        raise HostUnsupported("sandboxes need overlayfs, and this kernel has none", hint="run `modprobe overlay`")
"""


@pytest.fixture(autouse=True)
def _not_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LXSANDBOX_MUST_RUN", raising=False)


def test_a_host_that_cannot_fails_the_test_with_reason_and_hint(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(_LACKS)

    result = pytester.runpytest("--tb=long")

    result.assert_outcomes(errors=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_setup*",
            "HostUnsupported: sandboxes need overlayfs, and this kernel has none",
            "hint: run `modprobe overlay`",
            "*.py:*: in rare",
        ]
    )
    result.stdout.no_fnmatch_line("*outcomes.py*")


def test_on_request_it_skips_the_test_with_the_same_reason(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(_LACKS)

    result = pytester.runpytest("--sandbox-unsupported=skip", "-rs")

    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED*HostUnsupported: sandboxes need overlayfs*", "*hint: run `modprobe overlay`*"])


def test_in_ci_a_skip_is_a_failure_all_the_same(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LXSANDBOX_MUST_RUN", "1")
    pytester.makepyfile(_LACKS)

    pytester.runpytest("--sandbox-unsupported=skip").assert_outcomes(errors=1, failed=1)


def test_a_test_may_expect_the_error_itself(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from lxsandbox import HostUnsupported

        def test_it():
            with pytest.raises(HostUnsupported):
                raise HostUnsupported("no", hint="none")
        """
    )

    pytester.runpytest("--sandbox-unsupported=skip").assert_outcomes(passed=1)


def test_a_wrong_field_in_a_fixture_is_shown_with_its_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def box(make_sandbox):
            return make_sandbox(memory="lots")

        def test_it(box): ...
        """
    )

    result = pytester.runpytest("--tb=long")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["SpecError: memory='lots' is not a size", "hint: *", "*test_a_wrong_field*.py:5: in box"])
    result.stdout.no_fnmatch_line("*spec.py*")


def test_other_errors_are_left_as_they_are(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import lxsandbox.errors\ndef test_it(): raise ValueError('mine')")

    pytester.runpytest("--sandbox-unsupported=skip").assert_outcomes(failed=1)
