"""Where a setting may come from, which place wins, and what a wrong one is told."""

import pytest
from needs import needs

_SHOWS_SETTINGS = """
    from pytest_lxsandbox.options import settings

    def test_settings(request):
        print("settings:", settings(request.config))
"""


@pytest.fixture
def shown(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(_SHOWS_SETTINGS)
    return pytester


def test_no_setting_is_required(shown: pytest.Pytester) -> None:
    told = "fields={}, unsupported='fail', prewarm=0, pull='missing', offline=False, locked=False, cache_dir=None, cache_*=None"
    shown.runpytest("-s").stdout.fnmatch_lines([f"*settings: Settings({told})"])


def test_the_ini_file_sets_the_limits_of_every_sandbox(shown: pytest.Pytester) -> None:
    shown.makeini("[pytest]\nsandbox_memory = 64M\nsandbox_cpus = 0.5\nsandbox_pids = max\nsandbox_unsupported = skip")

    result = shown.runpytest("-s", "--strict-config")

    result.stdout.fnmatch_lines(["*{'memory': '64M', 'cpus': 0.5, 'pids': 'max'}, unsupported='skip'*"])


def test_the_environment_wins_over_the_ini_file(shown: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    shown.makeini("[pytest]\nsandbox_memory = 64M")
    monkeypatch.setenv("LXSANDBOX_SANDBOX_MEMORY", "96M")

    shown.runpytest("-s").stdout.fnmatch_lines(["*'memory': '96M'*"])


def test_the_command_line_wins_over_the_environment(shown: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LXSANDBOX_SANDBOX_MEMORY", "96M")

    shown.runpytest("-s", "--sandbox-memory", "1GiB").stdout.fnmatch_lines(["*'memory': '1GiB'*"])


def test_an_empty_environment_variable_counts_as_none(shown: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LXSANDBOX_SANDBOX_MEMORY", "")

    shown.runpytest("-s").stdout.fnmatch_lines(["*fields={}*"])


def test_images_are_fetched_as_the_command_line_says(shown: pytest.Pytester) -> None:
    shown.runpytest("-s", "--sandbox-pull=never", "--sandbox-offline").stdout.fnmatch_lines(["*pull='never', offline=True, *"])


@pytest.mark.parametrize(("text", "offline"), [("true", True), ("On", True), ("1", True), ("false", False), ("0", False)])
def test_a_flag_is_true_or_false_in_the_ini_file_and_the_environment(
    shown: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, text: str, offline: bool
) -> None:
    shown.makeini(f"[pytest]\nsandbox_offline = {text}")
    shown.runpytest("-s").stdout.fnmatch_lines([f"*offline={offline}, *"])

    shown.makeini(f"[pytest]\nsandbox_offline = {not offline}")
    monkeypatch.setenv("LXSANDBOX_SANDBOX_OFFLINE", text)
    shown.runpytest("-s").stdout.fnmatch_lines([f"*offline={offline}, *"])


def test_a_flag_that_is_neither_true_nor_false_is_a_usage_error(shown: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LXSANDBOX_SANDBOX_OFFLINE", "perhaps")

    result = shown.runpytest()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: environment variable LXSANDBOX_SANDBOX_OFFLINE: 'perhaps' is neither true nor false"])


@needs("user-namespaces", "overlayfs", "libseccomp")
@pytest.mark.parametrize(
    ("argument", "why"), [("--sandbox-pull=never", 'pull="never"'), ("--sandbox-offline", "this run is offline")]
)
def test_an_image_that_is_not_stored_fails_its_test_where_nothing_may_be_fetched(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, argument: str, why: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path))
    pytester.makepyfile("def test_root(make_sandbox): make_sandbox('127.0.0.1:9/nowhere')")

    result = pytester.runpytest(argument)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [f"E*image 127.0.0.1:9/nowhere:latest is not in the store, and {why}", "E*hint: fetch it before*image pull*"]
    )


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--sandbox-memory=lots", "ERROR: --sandbox-memory: memory='lots' is not a size"),
        ("--sandbox-memory=0", "ERROR: --sandbox-memory: memory='0' is out of range"),
        ("--sandbox-cpus=-1", "ERROR: --sandbox-cpus: cpus=-1.0 is not a number above 0*"),
        ("--sandbox-cpus=nan", "ERROR: --sandbox-cpus: cpus=nan is not a number above 0*"),
        ("--sandbox-pids=many", "ERROR: --sandbox-pids: invalid literal for int() with base 10: 'many'"),
        ("--sandbox-disk=", "ERROR: --sandbox-disk: disk='' is not a size"),
        ("--sandbox-timeout=0", "ERROR: --sandbox-timeout: timeout=0.0 is not a number above 0*"),
        ("--sandbox-image=", "ERROR: --sandbox-image: image='' is not an image reference"),
        ("--sandbox-unsupported=ignore", "ERROR: --sandbox-unsupported: choose from fail, skip"),
        ("--sandbox-prewarm=-2", "ERROR: --sandbox-prewarm: a count is at least 0"),
        ("--sandbox-cache-size=lots", "ERROR: --sandbox-cache-size: cache_size='lots' is not a size"),
        ("--sandbox-pull=often", "ERROR: --sandbox-pull: choose from missing, always, never"),
    ],
)
def test_a_wrong_option_is_a_usage_error_that_names_it(shown: pytest.Pytester, argument: str, message: str) -> None:
    result = shown.runpytest(argument)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_a_wrong_environment_variable_is_named(shown: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LXSANDBOX_SANDBOX_PIDS", "-3")

    result = shown.runpytest()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: environment variable LXSANDBOX_SANDBOX_PIDS: pids=-3 is not a whole number above 0*"])


def test_a_wrong_ini_key_is_named_with_the_hint(shown: pytest.Pytester) -> None:
    shown.makeini("[pytest]\nsandbox_disk = 5 bananas")

    result = shown.runpytest()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: ini key sandbox_disk: disk='5 bananas' is not a size", "hint: write bytes, or text like *"]
    )


def test_help_markers_and_fixtures_explain_all(pytester: pytest.Pytester) -> None:
    told = pytester.runpytest("--help").stdout
    told.fnmatch_lines(["lxsandbox:*", "*--sandbox-memory=SIZE*", "*--sandbox-unsupported={fail,skip}*", "*--sandbox-offline *"])
    told.fnmatch_lines(["*sandbox_memory (string):*"])
    pytester.runpytest("--markers").stdout.fnmatch_lines(["@pytest.mark.sandbox(*fields): what the fixture `sandbox`*"])
    listed = pytester.runpytest("--fixtures").stdout
    listed.fnmatch_lines(
        [
            "sandbox -- *",
            "make_sandbox -- *",
            "sandbox_factory [[]session scope[]] -- *",
            "sandbox_image [[]session scope[]] -- *",
            "sandbox_network -- *",
        ]
    )


def test_settings_reach_the_workers_of_xdist(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from pytest_lxsandbox.options import settings

        def test_settings(request):
            assert settings(request.config).fields == {"memory": "64M"}
        """
    )

    pytester.runpytest("-n1", "--sandbox-memory=64M").assert_outcomes(passed=1)
