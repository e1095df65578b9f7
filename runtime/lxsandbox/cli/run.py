"""`lxsandbox run`: one command in a fresh sandbox, which is gone when the command has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lxsandbox.cli.restarting import policy_option, run_by_policy
from lxsandbox.cli.spec_options import fields_of, greeting_of, spec_options

if TYPE_CHECKING:
    from lxsandbox.restarts import RestartPolicy

__all__ = ["run"]


@click.command(short_help="Run a command in a fresh sandbox.")
@spec_options
@click.option("-i", "--interactive", is_flag=True, help="Give the command this program's stdin; it is empty otherwise.")
@click.option("-t", "--tty", is_flag=True, help="Give the command a terminal, joined to this one.")
@policy_option
@click.argument("image")
@click.argument("command", nargs=-1, required=True, metavar="-- CMD...")
def run(image: str, command: tuple[str, ...], interactive: bool, tty: bool, policy: RestartPolicy, **options: Any) -> int:
    """Run CMD in a fresh sandbox over IMAGE (`host`, NAME[:TAG], `dir:PATH`, ...) and exit as it did.

    Exits with 125 for an error of lxsandbox, 126 when CMD cannot be executed, 127 when it is not there, 128+n when
    signal n ended it. A limit that is given here is held, or the run is refused; a default one is held where the host can.
    """
    from lxsandbox.cli.attached import run_attached, run_in_terminal
    from lxsandbox.cli.fresh import fresh_sandbox

    with fresh_sandbox(image, fields_of(options), greeting_of(options)) as sandbox:

        def once() -> int:
            return run_in_terminal(sandbox, command) if tty else run_attached(sandbox, command, stdin=interactive)

        return run_by_policy(sandbox, policy, once)
