"""`lxsandbox shell`: an interactive shell in a running sandbox, or in a fresh one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lxsandbox.cli.spec_options import fields_of, greeting_of, spec_options

if TYPE_CHECKING:
    from lxsandbox.cli.runs import Running

__all__ = ["shell"]

# The best one that is there; `exec` leaves no second process behind.
_SHELL = ("sh", "-c", "if command -v bash >/dev/null 2>&1; then exec bash -l; else exec sh -l; fi")


@click.command(short_help="Open a shell in a running or a fresh sandbox.")
@spec_options
@click.argument("reference", metavar="IMAGE|ID")
def shell(reference: str, **options: Any) -> int:
    """Open a shell in the running sandbox ID (or its name), else in a fresh sandbox over IMAGE, gone when the shell ends."""
    from lxsandbox.cli.attached import run_in_terminal
    from lxsandbox.cli.fresh import fresh_sandbox
    from lxsandbox.cli.runs import find

    fields, greeting = fields_of(options), greeting_of(options)
    running = find(reference)
    if running is None:
        with fresh_sandbox(reference, fields, greeting) as sandbox:
            return run_in_terminal(sandbox, _SHELL)
    if given := {**fields, **greeting}:
        names = ", ".join(sorted(given))
        raise click.UsageError(f"sandbox {running.name} runs already; {names} cannot be given for it")
    return _enter(running)


def _enter(running: Running) -> int:
    from lxsandbox.cli.attached import run_in_terminal
    from lxsandbox.cli.interrupts import raised_as_exceptions
    from lxsandbox.sandbox.connection import ServiceConnection
    from lxsandbox.sandbox.sandbox import Sandbox

    # An observer: the sandbox ends when its owner says so, whether someone looks at it or not.
    connection = ServiceConnection.open(running.folder, label="shell", observer=True, start=False)
    try:
        with raised_as_exceptions():
            if running.facts["state"] == "paused":  # kept after a failed test; a frozen init answers nobody
                connection.request("resume", sandbox=running.id)
            return run_in_terminal(Sandbox.attach(running.id, connection=connection), _SHELL)
    finally:
        connection.channel.close()
