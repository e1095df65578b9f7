"""`lxsandbox logs`: what the main command of a running sandbox has printed, and with `--follow` what it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lxsandbox.sandbox.channel import Channel

__all__ = ["logs"]

_ALL = "all"


def _lines(_context: click.Context, parameter: click.Parameter, text: str) -> int | None:
    """A number of lines, or the word for all of them, as container tools take it."""
    if text == _ALL:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise click.BadParameter(f"{text!r} is neither a number of lines nor {_ALL!r}", param=parameter)
    return int(text)


@click.command(short_help="Print what a sandbox's main command has printed.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what it prints, until the sandbox ends.")
@click.option("-n", "--tail", metavar="N", default=_ALL, callback=_lines, help="The last N lines of what there is; `all`: all.")
@click.argument("reference", metavar="ID")
def logs(reference: str, follow: bool, tail: int | None) -> None:
    """Print what the main command of sandbox ID (an id, the start of one, or a name) has printed so far."""
    from lxsandbox.cli.runs import find, observe
    from lxsandbox.errors import SandboxError

    sandbox = find(reference)
    if sandbox is None:
        raise SandboxError(f"no sandbox {reference!r} runs", hint="`lxsandbox ps` lists those that do")
    with observe(sandbox.folder) as channel:
        if follow:
            _follow(channel, sandbox.id, tail)
            return
        reply, _ = channel.call("logs", timeout=30.0, sandbox=sandbox.id, tail=tail)
    click.echo(reply["text"], nl=False)


def _follow(channel: Channel, sandbox: str, tail: int | None) -> None:
    from lxsandbox.cli.interrupts import raised_as_exceptions
    from lxsandbox.sandbox.log_lines import LogLines

    with raised_as_exceptions():
        _, (pipe,) = channel.call("follow_logs", timeout=30.0, sandbox=sandbox, tail=tail)
        with LogLines(pipe) as lines:
            for line in lines:
                click.echo(line, nl=False)
