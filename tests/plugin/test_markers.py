"""The `sandbox` marker: the nearest wins field by field, and a mistake is told at collection."""

import pytest

from pytest_lxsandbox.markers import fields_of


def test_the_nearest_marker_wins_field_by_field(pytester: pytest.Pytester) -> None:
    item = pytester.getitem(
        """
        import pytest

        pytestmark = pytest.mark.sandbox(memory="32M", pids=10, hostname="module")

        @pytest.mark.sandbox(pids=20, hostname="class")
        class TestBox:
            @pytest.mark.sandbox(hostname="function")
            def test_it(self): ...
        """,
        "test_it",
    )

    assert fields_of(item) == {"memory": "32M", "pids": 20, "hostname": "function"}


def test_a_subclass_wins_over_its_base(pytester: pytest.Pytester) -> None:
    items = pytester.getitems(
        """
        import pytest

        @pytest.mark.sandbox(pids=10, memory="32M")
        class Base:
            def test_it(self): ...

        @pytest.mark.sandbox(pids=20)
        class TestBox(Base): ...
        """
    )

    assert [fields_of(item) for item in items] == [{"pids": 20, "memory": "32M"}]


def test_the_marks_of_a_parameter_win_over_the_function(pytester: pytest.Pytester) -> None:
    items = pytester.getitems(
        """
        import pytest

        @pytest.mark.sandbox(pids=10)
        @pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.sandbox(pids=20))])
        def test_it(x): ...
        """
    )

    assert [fields_of(item)["pids"] for item in items] == [10, 20]


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("memori='64M'", "*test_it.py::test_it: sandbox marker: no such field: memori"),
        ("memory='lots'", "*test_it.py::test_it: sandbox marker: memory='lots' is not a size"),
        ("'64M'", "*test_it.py::test_it: sandbox marker: the sandbox marker takes fields by name, and got ('64M',)"),
        ("command='sleep 5'", "*test_it.py::test_it: sandbox marker: command='sleep 5' is a string"),
        ("env=['A']", "*test_it.py::test_it: sandbox marker: env=[[]'A'[]] is not a mapping"),
    ],
)
def test_a_mistake_is_a_usage_error_naming_the_test(pytester: pytest.Pytester, marker: str, message: str) -> None:
    pytester.makepyfile(test_it=f"import pytest\n@pytest.mark.sandbox({marker})\ndef test_it(): ...")

    result = pytester.runpytest("--strict-markers")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message, "hint: *"])


def test_a_mistake_is_a_usage_error_under_xdist_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it="import pytest\n@pytest.mark.sandbox(ram=1)\ndef test_it(): ...")

    result = pytester.runpytest("-n2")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: test_it.py::test_it: sandbox marker: no such field: ram", "hint: *"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    result.stdout.no_fnmatch_line("*Traceback*")


def test_an_unknown_field_is_told_the_fields_there_are(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.sandbox(ram=1)\ndef test_it(): ...")

    pytester.runpytest().stderr.fnmatch_lines(["hint: the fields are image, command, *memory*"])


def test_a_mistake_in_a_class_marker_names_the_first_tests_only(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.sandbox(ram=1)
        class TestMany:
            @pytest.mark.parametrize("x", range(30))
            def test_it(self, x): ...
        """
    )

    result = pytester.runpytest()

    result.stderr.fnmatch_lines(["*TestMany::test_it[[]0[]]: sandbox marker: no such field: ram", "and 20 tests more"])


def test_a_deselected_test_with_a_mistake_is_still_told(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.sandbox(ram=1)\ndef test_it(): ...\ndef test_other(): ...")

    assert pytester.runpytest("-k", "other").ret == pytest.ExitCode.USAGE_ERROR
