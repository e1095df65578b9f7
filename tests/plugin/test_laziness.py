"""A run that uses no sandbox pays nothing for the plugin: what is imported, what is touched, how long it takes."""

import re
import sys
from pathlib import Path

import pytest

_IMPORT_MILLISECONDS = 5.0  # the whole promise is 15 ms; a slow disk may double what is usual here (1 to 2)


def test_an_unused_plugin_loads_nothing_of_the_runtime(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): ...")
    pytester.makeconftest(
        """
        import sys

        def pytest_unconfigure():
            print("loaded:", sorted(name for name in sys.modules if name.partition(".")[0] in ("lxsandbox", "pytest_lxsandbox")))
        """
    )

    result = pytester.runpytest_subprocess()

    result.assert_outcomes(passed=1)
    (loaded,) = re.findall(r"loaded: \[(.*)\]", result.stdout.str())
    names = {name.strip("'").removeprefix("pytest_lxsandbox.") for name in loaded.split(", ")}
    assert names == {"pytest_lxsandbox", "plugin", "options", "fixtures", "keys", "hookspecs", "header"}


def test_a_test_that_uses_the_fixture_is_collected_without_the_runtime(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(sandbox): ...")
    pytester.makeconftest("import sys\ndef pytest_unconfigure(): print('client loaded:', 'lxsandbox.sandbox' in sys.modules)")

    pytester.runpytest_subprocess("--collect-only", "-q").stdout.fnmatch_lines(["*client loaded: False"])


def test_collection_leaves_no_trace_on_the_host(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_STATE_HOME", "TMPDIR"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    pytester.makepyfile("import pytest\n@pytest.mark.sandbox(memory='64M')\ndef test_it(sandbox): ...")

    result = pytester.runpytest_subprocess("--collect-only", "-p", "no:cacheprovider", "--basetemp", str(pytester.path / "base"))

    assert result.ret == pytest.ExitCode.OK
    assert [found for folder in tmp_path.iterdir() for found in folder.iterdir()] == []


def test_the_plugin_is_imported_in_a_fraction_of_its_budget(pytester: pytest.Pytester) -> None:
    imports = pytester.run(sys.executable, "-X", "importtime", "-c", "import pytest, pytest_lxsandbox.plugin").stderr.str()

    # "import time: self [us] | cumulative | name"; nested imports are indented, so these are ours with all they load.
    spent = [int(cumulative) for cumulative in re.findall(r"\| +(\d+) \| pytest_lxsandbox", imports)]
    assert spent
    assert sum(spent) / 1000 < _IMPORT_MILLISECONDS


def test_the_plugin_can_be_turned_off_by_its_name(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(sandbox): ...")

    result = pytester.runpytest_subprocess("-p", "no:lxsandbox")

    result.stdout.fnmatch_lines(["*fixture 'sandbox' not found*"])
    result.stdout.no_fnmatch_line("lxsandbox: *")


def test_the_header_is_one_line(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")

    lines = pytester.runpytest().outlines

    (header,) = [line for line in lines if line.startswith("lxsandbox: ")]
    assert re.fullmatch(r"lxsandbox: (root|user), cgroups (v1|v2|hybrid|none \(.+\)), image cache /somewhere/lxsandbox", header)


def test_the_header_names_the_folder_that_was_chosen_for_images(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nsandbox_cache_dir = .cache/images")  # below the rootdir, which is the home folder too here

    pytester.runpytest().stdout.fnmatch_lines(["lxsandbox: *, image cache ~/.cache/images"])
    pytester.runpytest("--sandbox-cache-dir=/elsewhere").stdout.fnmatch_lines(["lxsandbox: *, image cache /elsewhere"])


def test_an_error_in_a_fixture_of_the_user_shows_no_frame_of_ours(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def broken():
            raise RuntimeError("mine")

        def test_it(broken): ...
        def test_call(): raise RuntimeError("mine too")
        """
    )

    result = pytester.runpytest("--tb=long")

    result.assert_outcomes(errors=1, failed=1)
    result.stdout.no_fnmatch_line("*pytest_lxsandbox*plugin.py*")
