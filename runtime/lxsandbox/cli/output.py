"""How listings are printed: JSON where it is asked for, a table on a terminal, aligned columns into a pipe."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import click

__all__ = ["age_of", "json_option", "print_json", "print_table", "printable"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:
    """`value` as JSON, indented."""
    click.echo(json.dumps(value, indent=2))


def age_of(created: float) -> str:
    """How long ago that was, in its largest unit of which there are two; `created` is in seconds since the epoch."""
    seconds = max(0, int(time.time() - created))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """On a terminal a table of its width; into a pipe one line a row, so that grep and awk can read it."""
    if sys.stdout.isatty():
        _print_rich(columns, rows)
    else:
        _print_plain(columns, rows)


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, not str: what a sandbox is called is no markup of ours.
        table.add_row(*(Text(printable(cell), style=_STYLES.get(cell, "")) for cell in row))
    Console().print(table)


_STYLES = {"ok": "green", "missing": "bold red", "limited": "yellow"}


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [list(columns), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """`text` with a `?` for what is no plain character."""
    # Names and commands come from the sandbox: they must not drive the terminal, nor break the line.
    return "".join(character if character.isprintable() else "?" for character in text)
