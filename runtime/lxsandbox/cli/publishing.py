"""What `--publish` takes, as container tools write it: `8080:80`, `80`, `5353:53/udp`, `127.0.0.1:8080:80`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from lxsandbox.errors import SpecError
from lxsandbox.ports import parse_ports

__all__ = ["published"]

_FORM = re.compile(r"(?:127\.0\.0\.1:|localhost:)?(?:([0-9]*):)?([0-9]+(?:/(?:tcp|udp))?|/.+)", re.ASCII)


def published(_context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> dict[str, int | None] | None:
    """The field `ports`. Where the host's port is left out, it is a free one."""
    ports: dict[str, int | None] = {}
    for text in texts:
        match = _FORM.fullmatch(text)
        if match is None:
            raise click.BadParameter(
                f"{text!r} is not [127.0.0.1:][HOST_PORT:]PORT[/udp]; of the host there is 127.0.0.1 alone", param=parameter
            )
        try:
            [(target, port)] = parse_ports({match[2]: int(match[1]) if match[1] else None}).items()
        except SpecError as error:
            raise click.BadParameter(error.message, param=parameter) from error
        if target in ports:
            raise click.BadParameter(f"{target} is published twice", param=parameter)
        ports[target] = port
    return ports or None
