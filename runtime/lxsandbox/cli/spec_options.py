"""The options of `run` and `shell`: those that describe a sandbox, with the spec fields that they mean, and how images come."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from lxsandbox.cli.publishing import published
from lxsandbox.defaults import LOCK_NAME
from lxsandbox.spec import Bind
from lxsandbox.units import UNLIMITED

__all__ = ["fields_of", "greeting_of", "spec_options"]

_GREETING = ("pull", "offline", "lock")  # no fields of a sandbox: what is there already does not depend on them
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _amount(_context: click.Context, parameter: click.Parameter, text: str | None) -> int | str | None:
    """A whole number, or the word that lifts the limit."""
    if text is None or text == UNLIMITED:
        return text
    if not text.isdecimal():
        raise click.BadParameter(f"{text!r} is neither a whole number nor {UNLIMITED!r}", param=parameter)
    return int(text)


def _size(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | str | None:
    # `--swap 0`: no size, and yet what is asked for most.
    return 0 if text == "0" else text


def _environment(_context: click.Context, _parameter: click.Parameter, texts: Sequence[str]) -> dict[str, str] | None:
    """`NAME=VALUE`, or `NAME` for the value that it has here; a name that has none is left out, as container tools do."""
    pairs = (text.partition("=") for text in texts)
    given = {name: value if equals else os.environ.get(name) for name, equals, value in pairs}
    return {name: value for name, value in given.items() if value is not None} or None


def _mounts(_context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> list[Bind] | None:
    return [_mount(text, parameter) for text in texts] or None


def _mount(text: str, parameter: click.Parameter) -> Bind:
    match text.split(":"):
        case [source, target] if source and target:
            return Bind(source, target)
        case [source, target, ("ro" | "rw" | "copy") as mode] if source and target:
            return Bind(source, target, mode)
        case _:
            raise click.BadParameter(f"{text!r} is not SRC:DST[:ro|rw|copy]", param=parameter)


def _egress(_context: click.Context, _parameter: click.Parameter, texts: Sequence[str]) -> bool | list[str] | None:
    """What may be reached; the word `all` for everything."""
    return True if "all" in texts else list(texts) or None


_OPTIONS = (
    click.option("--memory", metavar="SIZE", help="Most memory of all its processes together, such as 256M; `max`: no bound."),
    click.option("--swap", metavar="SIZE", callback=_size, help="Most swap; none by default."),
    click.option("--cpus", type=float, metavar="N", help="Processor time of N processors, such as 0.5."),
    click.option("--pids", metavar="N", callback=_amount, help="Most processes and threads; `max`: no bound."),
    click.option("--disk", metavar="SIZE", help="Most data that it may write to its root."),
    click.option("--io", metavar="SIZE", help="Bytes a second read from, and written to, each disk."),
    click.option("--timeout", type=float, metavar="SECONDS", help="Wall time after which all of it is killed."),
    click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", callback=_environment, help="Set in its environment."),
    click.option("-w", "--cwd", metavar="DIR", help="The working directory."),
    click.option("-u", "--user", metavar="USER[:GROUP]", help="Who runs it: a name or a number."),
    click.option("--network", type=click.Choice(["isolated", "host"]), help="Its own loopback alone (default), or the host's."),
    click.option(
        "--egress", multiple=True, metavar="TARGET", callback=_egress,
        help="What it may reach outside, such as example.org:443 or 10.0.0.0/8; `all`: everything. Nothing by default.",
    ),
    click.option(
        "-p", "--publish", "ports", multiple=True, metavar="[HOST_PORT:]PORT[/udp]", callback=published,
        help="Have a port of it on 127.0.0.1; at a free port where none is named, see `ps --json`.",
    ),
    click.option(
        "-v", "--mount", "mounts", multiple=True, metavar="SRC:DST[:ro|rw|copy]", callback=_mounts,
        help="Show a file or folder of the host; read-only unless said otherwise.",
    ),
    click.option("--read-only", is_flag=True, default=None, help="Forbid writing to its root."),
    click.option("--name", metavar="NAME", help="What `ps` and `shell` call it."),
    click.option("--hostname", metavar="NAME", help="Its host name."),
    click.option(
        "--pull", type=click.Choice(["missing", "always", "never"]),
        help="When a registry is asked for the image: where the store lacks it (default), each time, not at all.",
    ),
    click.option("--offline", is_flag=True, default=None, help="Fetch nothing over the network."),
    click.option(
        "--locked", "lock", flag_value=LOCK_NAME, default=None,
        help=f"Take the image by the digest in {LOCK_NAME} of the current folder, and no other.",
    ),
)  # fmt: skip


def spec_options(command: _Function) -> _Function:
    """Give `command` the options; their values are for `fields_of` and `greeting_of`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def fields_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of SandboxSpec that were given: only these, so that a host which cannot hold one of them must refuse."""
    return {name: value for name, value in options.items() if value is not None and name not in _GREETING}


def greeting_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of what was given, that which `ServiceConnection.open` is told: how images are fetched."""
    return {name: options[name] for name in _GREETING if options.get(name) is not None}
