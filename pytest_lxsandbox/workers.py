"""What controller and workers of pytest-xdist tell each other: the run's name down, figures and usage errors up."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import pytest

__all__ = ["Worker", "collect", "configure", "report_figures", "run_name", "usage_errors_told", "worker_name"]

_NAME = pytest.StashKey[str]()
_RUN = "lxsandbox_run"
_FIGURES = "lxsandbox_figures"
_USAGE_ERROR = "lxsandbox_usage_error"


class Worker(Protocol):
    """What is used here of xdist's `WorkerController`; `workeroutput` it has only once it has ended in good order."""

    config: pytest.Config
    workerinput: dict[str, Any]


def run_name(config: pytest.Config) -> str:
    """The name of this run, the same in all of its workers."""
    if (given := _input(config)) is not None:
        return str(given[_RUN])
    if _NAME not in config.stash:
        config.stash[_NAME] = f"{os.getpid()}-{secrets.token_hex(4)}"
    return config.stash[_NAME]


def worker_name(config: pytest.Config) -> str:
    """`gw0` in the first worker; `main` where there are none."""
    given = _input(config)
    return "main" if given is None else str(given["workerid"])


def configure(node: Worker) -> None:
    """In the controller, before a worker starts."""
    node.workerinput[_RUN] = run_name(node.config)


def report_figures(config: pytest.Config, figures: Mapping[str, Any]) -> bool:
    """Send them to the controller; False where there is none."""
    if _input(config) is None:
        return False
    _output(config)[_FIGURES] = figures
    return True


@contextmanager
def usage_errors_told(config: pytest.Config) -> Generator[None]:
    """Pass a usage error on to the controller: xdist itself would end with an internal error in its place."""
    try:
        yield
    except pytest.UsageError as error:
        if _input(config) is not None:
            _output(config)[_USAGE_ERROR] = str(error)
        raise


def collect(node: Worker) -> None:
    """In the controller, when a worker has gone. One that was killed has told nothing, and has lost its sandboxes with it."""
    told: Mapping[str, Any] = getattr(node, "workeroutput", {})
    if message := told.get(_USAGE_ERROR):
        raise pytest.UsageError(message)
    if figures := told.get(_FIGURES):
        from pytest_lxsandbox import totals

        totals.add(node.config, figures)


def _input(config: pytest.Config) -> Mapping[str, Any] | None:
    return getattr(config, "workerinput", None)


def _output(config: pytest.Config) -> dict[str, Any]:
    output: dict[str, Any] = vars(config)["workeroutput"]  # an attribute that xdist adds
    return output
