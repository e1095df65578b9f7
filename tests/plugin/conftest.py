"""What all tests of the plugin share: how their inner runs are kept from disturbing the outer one."""

import os

import pytest

# An inner run in this process drops every module that it is the first to load, and would then know classes twice.
import lxsandbox.sandbox.sandbox
import pytest_lxsandbox.outcomes
import pytest_lxsandbox.report
import pytest_lxsandbox.totals

__all__ = ["lxsandbox", "pytest_lxsandbox"]


@pytest.fixture(autouse=True)
def _options_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    # CI sets one of them for the whole suite, and the environment comes before the ini file.
    for name in [name for name in os.environ if name.startswith("LXSANDBOX_SANDBOX_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _one_timer(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    # There is one alarm for each process: pytest-timeout of the inner run would turn off the outer run's.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:timeout")
