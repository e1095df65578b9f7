"""The entry point: finds the command, and turns every error into two lines on stderr and an exit code.

Exit codes are those of container tools: 125 for an error of ours, 126 and 127 for a command that cannot be executed or is
not there, 128+n for a signal, else the command's own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from lxsandbox.cli.interrupts import Interrupted
from lxsandbox.cli.lazy import LazyGroup
from lxsandbox.errors import Death, SandboxDied, SandboxError

__all__ = ["OUR_ERROR", "main", "status_of"]

OUR_ERROR = 125
_SIGKILL, _SIGINT = 9, 2
_DEBUG = "LXSANDBOX_DEBUG"

_COMMANDS = {
    "doctor": "lxsandbox.cli.doctor:doctor",
    "run": "lxsandbox.cli.run:run",
    "shell": "lxsandbox.cli.shell:shell",
    "image": "lxsandbox.cli.image.group:image",
    "ps": "lxsandbox.cli.ps:ps",
    "logs": "lxsandbox.cli.logs:logs",
    "gc": "lxsandbox.cli.gc:gc",
}


def _print_version(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            text = version("pytest-lxsandbox")
        except PackageNotFoundError:  # a source tree that was never installed
            text = "not installed"
        click.echo(f"lxsandbox {text}")
        ctx.exit()


@click.group(cls=LazyGroup, places=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version.")
def _lxsandbox() -> None:
    """Throwaway Linux sandboxes: run one, look at those that run, and find out what this host can do."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line (by default this process's own) and exit."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = _lxsandbox.main(args=arguments, prog_name="lxsandbox", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return OUR_ERROR
    except click.Abort:
        return 128 + _SIGINT
    except Interrupted as interrupted:
        return 128 + interrupted.number
    except Exception as error:  # the boundary: no traceback of ours reaches a user who did not ask for it
        if os.environ.get(_DEBUG):
            raise
        return _report(error)


def _report(error: Exception) -> int:
    message, notes = _texts(error)
    for line in (f"lxsandbox: error: {message}", *notes):
        click.echo(line, err=True)
    return status_of(error)


def _texts(error: Exception) -> tuple[str, list[str]]:
    """What to say, and the notes below it: the hint, the last log lines."""
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "lxsandbox"
        return error.format_message(), [f"hint: `{path} --help` shows how it is used"]
    if isinstance(error, click.ClickException):
        return error.format_message(), []
    if isinstance(error, SandboxError):
        return error.message, list(getattr(error, "__notes__", []))
    if isinstance(error, OSError):
        return str(error), []
    bug = f"hint: this is a bug; run it again with {_DEBUG}=1 and report what it prints"
    return f"internal: {type(error).__name__}: {error}", [bug]


def status_of(error: Exception) -> int:
    """The exit code that says what went wrong."""
    if isinstance(error, SandboxDied):
        return _status_of_death(error.death)
    status: int = getattr(error, "returncode", OUR_ERROR)
    return status


def _status_of_death(death: Death) -> int:
    match death.reason:
        case "exit":
            return OUR_ERROR if death.exit_code is None else death.exit_code
        case "signal":
            return 128 + (death.signal or _SIGKILL)
        case "oom" | "timeout" | "killed":
            return 128 + _SIGKILL
        case _:
            return OUR_ERROR
