"""The hooks that a conftest.py or another plugin may implement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lxsandbox.errors import Death
    from lxsandbox.sandbox.sandbox import Sandbox
    from lxsandbox.spec import SandboxSpec


@pytest.hookspec(firstresult=True)
def pytest_sandbox_spec(item: pytest.Item | pytest.Session, spec: SandboxSpec) -> SandboxSpec | None:
    """Change what a sandbox is going to be: called before each is made; the first answer that is not None is used.

    `spec` holds what options, markers and keywords say, without the built-in default limits. `item` is the test that asked;
    for `sandbox_factory` it is the session. A changed copy is made with `dataclasses.replace(spec, …)`.
    """


@pytest.hookspec
def pytest_sandbox_started(sandbox: Sandbox) -> None:
    """A sandbox of one of the fixtures runs, and the test has not got it yet."""


@pytest.hookspec
def pytest_sandbox_died(sandbox: Sandbox, death: Death) -> None:
    """A sandbox ended before it was closed. Called once, when its test fails or ends; `death` says why."""
