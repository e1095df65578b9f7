"""What pytest calls: each hook passes its work on to the module that does it.

Imports no runtime, and most of this package only when it is needed: a run that uses no sandbox pays for no sandbox.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from pytest_lxsandbox import options
from pytest_lxsandbox.fixtures import make_sandbox, sandbox, sandbox_factory, sandbox_image, sandbox_network
from pytest_lxsandbox.keys import MADE, RUN, TOTAL

if TYPE_CHECKING:
    from pytest_lxsandbox.workers import Worker

__all__ = ["make_sandbox", "sandbox", "sandbox_factory", "sandbox_image", "sandbox_network"]

_MARKER = (
    "sandbox(**fields): what the fixture `sandbox` of this test is made of, any field of lxsandbox.SandboxSpec (image=, "
    "command=, memory=, cpus=, pids=, disk=, network=, env=, user=, mounts=, ...); the nearest marker wins, field by field."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    options.declare(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from pytest_lxsandbox import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    options.settings(config)


def pytest_report_header(config: pytest.Config) -> str:
    from pytest_lxsandbox import header

    return header.line(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if marked := [item for item in items if item.get_closest_marker("sandbox")]:
        from pytest_lxsandbox import markers, workers

        with workers.usage_errors_told(config):
            markers.check(marked)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    __tracebackhide__ = True
    try:
        yield
    except Exception as error:
        _judge(error, item, "setup")
        raise


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    __tracebackhide__ = True
    try:
        yield
    except Exception as error:
        _judge(error, item, "call")
        raise


def _judge(error: Exception, item: pytest.Item, when: str) -> None:
    __tracebackhide__ = True
    if "lxsandbox.errors" in sys.modules:  # else nothing of ours can have raised it
        from pytest_lxsandbox import outcomes

        outcomes.judge(error, item, when)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    __tracebackhide__ = True
    try:
        yield
    except Exception as error:
        _judge(error, item, "teardown")
        raise
    finally:
        if MADE in item.stash:
            from pytest_lxsandbox import report

            report.add_properties(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    test_report = yield
    used = MADE in item.stash or MADE in item.session.stash
    if used and test_report.failed and test_report.when != "teardown":
        from pytest_lxsandbox import report

        report.add_sections(test_report, item)
    return test_report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    # Last of all: by now pytest has torn down every fixture, also after Ctrl-C.
    if RUN in session.config.stash:
        from pytest_lxsandbox import session as sandboxes

        sandboxes.finish(session.config)
    if TOTAL in session.config.stash:
        from pytest_lxsandbox import totals

        totals.judge(session)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if TOTAL in config.stash:
        from pytest_lxsandbox import totals

        totals.show(terminalreporter, config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Worker) -> None:
    from pytest_lxsandbox import workers

    workers.configure(node)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Worker) -> None:
    from pytest_lxsandbox import workers

    workers.collect(node)
