"""`lxsandbox logs`: what the main command of a running sandbox has printed."""

from __future__ import annotations

import click

__all__ = ["logs"]


@click.command(short_help="Print what a sandbox's main command has printed.")
@click.argument("reference", metavar="ID")
def logs(reference: str) -> None:
    """Print what the main command of sandbox ID (an id, the start of one, or a name) has printed so far."""
    from lxsandbox.cli.runs import find, observe
    from lxsandbox.errors import SandboxError

    sandbox = find(reference)
    if sandbox is None:
        raise SandboxError(f"no sandbox {reference!r} runs", hint="`lxsandbox ps` lists those that do")
    with observe(sandbox.folder) as channel:
        reply, _ = channel.call("logs", timeout=30.0, sandbox=sandbox.id)
    click.echo(reply["text"], nl=False)
