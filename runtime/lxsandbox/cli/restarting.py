"""The command of `lxsandbox run` again and again, as its restart policy says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from lxsandbox.errors import SpecError
from lxsandbox.restarts import Backoff, RestartPolicy

if TYPE_CHECKING:
    from lxsandbox.sandbox.sandbox import Sandbox

__all__ = ["policy_option", "run_by_policy"]


def _policy(_context: click.Context, parameter: click.Parameter, text: str) -> RestartPolicy:
    try:
        return RestartPolicy.parse(text)
    except SpecError as error:
        raise click.BadParameter(f"{text!r}: {error.hint}", param=parameter) from error


policy_option = click.option(
    "--restart", "policy", metavar="POLICY", default="no", callback=_policy,
    help="Run CMD again when it has ended: no (default), on-failure, on-failure:N (N times at most) or always.",
)  # fmt: skip


def run_by_policy(sandbox: Sandbox, policy: RestartPolicy, run: Callable[[], int]) -> int:
    """Call `run` until its exit code is one to stay with, which is returned. What one leaves is killed before the next."""
    backoff, restarts = Backoff(), 0
    while True:
        began = time.monotonic()
        status = run()
        if not policy.wants(status, restarts):
            return status
        time.sleep(backoff.after(time.monotonic() - began))  # a signal ends it: see `interrupts`
        sandbox.restart()
        restarts += 1
