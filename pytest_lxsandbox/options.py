"""The option group `lxsandbox`: what there is to set, where a value may come from, and what a wrong one is told.

Command line > environment > ini file > default. Values are checked by the runtime's own spec, loaded only if something is set.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from lxsandbox.images.transports import Pull

# Not asked of the type: who sets nothing does not wait for the module that has it.
_PULLS = ("missing", "always", "never")
# The words of ini files, as configparser has them.
_TRUTHS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


class Option(NamedTuple):
    """One thing to set. `read` makes a value of the text; those that `is_field` are fields of SandboxSpec."""

    name: str
    metavar: str
    help: str
    read: Callable[[str], Any]
    is_field: bool = True
    is_flag: bool = False
    """On the command line it is there or not; elsewhere it is true or false."""

    @property
    def key(self) -> str:
        return f"sandbox_{self.name}"

    @property
    def flag(self) -> str:
        return f"--sandbox-{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        return f"LXSANDBOX_{self.key.upper()}"


class Settings(NamedTuple):
    """What the user set. `fields` are those of SandboxSpec that every sandbox of the run gets, unless it says otherwise."""

    fields: dict[str, Any]
    unsupported: str = "fail"
    prewarm: int = 0
    pull: Pull = "missing"
    offline: bool = False
    locked: bool = False
    cache_dir: str | None = None
    cache_size: int | str | None = None


def _count_or_max(text: str) -> int | str:
    return text if text == "max" else int(text)


def _reaction(text: str) -> str:
    if text not in ("fail", "skip"):
        raise ValueError("choose from fail, skip")
    return text


def _count(text: str) -> int:
    if (number := int(text)) < 0:
        raise ValueError("a count is at least 0")
    return number


def _pull(text: str) -> str:
    if text not in _PULLS:
        raise ValueError(f"choose from {', '.join(_PULLS)}")
    return text


def _size_or_max(text: str) -> int | str:
    from lxsandbox.units import parse_size

    return text if text == "max" else parse_size(text, what="cache_size")


def _truth(text: str) -> bool:
    if (word := text.strip().lower()) not in _TRUTHS:
        raise ValueError(f"{text!r} is neither true nor false")
    return _TRUTHS[word]


OPTIONS = (
    Option("image", "REF", "image of sandboxes that name none (host: the host's own files, copy-on-write)", str),
    Option("memory", "SIZE", "memory of a sandbox that asks for none, such as 256M, 1.5GiB or max (512M)", str),
    Option("cpus", "N", "processors' worth of time of a sandbox that asks for none, such as 0.5 (no bound)", float),
    Option("pids", "N", "processes and threads of a sandbox that asks for none, or max (512)", _count_or_max),
    Option("disk", "SIZE", "what a sandbox that asks for nothing else may write (256M)", str),
    Option("timeout", "SECONDS", "how long a sandbox that asks for nothing else may live (no bound)", float),
    Option("unsupported", "{fail,skip}", "a test that this host cannot run fails, or is skipped (fail)", _reaction, False),
    Option("prewarm", "N", "sandboxes made ahead of need, for each shape that is asked for (0)", _count, False),
    Option(
        "pull", "{missing,always,never}", "when a registry is asked for an image (missing: if it is not stored)", _pull, False
    ),
    Option("offline", "", "fetch no image over the network: one that is not stored fails its tests (false)", _truth, False, True),
    Option("locked", "", "only images that lxsandbox.lock in the rootdir pins, by digest (false)", _truth, False, True),
    Option("cache_dir", "DIR", "where images are kept, absolute or below the rootdir ($XDG_CACHE_HOME/lxsandbox)", str, False),
    Option("cache_size", "SIZE", "of the images that a run leaves in the cache, such as 5G, or max (20GiB)", _size_or_max, False),
)
_SETTINGS = pytest.StashKey[Settings]()


def declare(parser: pytest.Parser) -> None:
    """Add the option group and, for each option, its ini key."""
    group = parser.getgroup(
        "lxsandbox", "lxsandbox: throwaway sandboxes (also as ini key, or environment variable LXSANDBOX_<KEY>)"
    )
    for option in OPTIONS:
        form: dict[str, Any] = {"action": "store_const", "const": "true"} if option.is_flag else {"metavar": option.metavar}
        group.addoption(option.flag, default=None, help=option.help, **form)
        parser.addini(option.key, option.help, default=None)


def settings(config: pytest.Config) -> Settings:
    """What is set for this run. Raises pytest.UsageError, naming the place, for a value that makes no sense."""
    if (known := config.stash.get(_SETTINGS, None)) is None:
        known = config.stash[_SETTINGS] = _read_all(config)
    return known


def image_cache(config: pytest.Config) -> str | None:
    """The folder that was chosen for images, absolute; None where none was."""
    if not (chosen := settings(config).cache_dir):
        return None
    return os.path.normpath(config.rootpath / os.path.expanduser(chosen))


def _read_all(config: pytest.Config) -> Settings:
    fields: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for option in OPTIONS:
        text, origin = _find(config, option)
        if text is not None:
            (fields if option.is_field else others)[option.name] = _read(option, text, origin)
    return Settings(fields=fields, **others)


def _find(config: pytest.Config, option: Option) -> tuple[str | None, str]:
    """The text that was given for `option`, and where; an empty environment variable counts as none."""
    if (text := config.getoption(option.key)) is not None:
        return text, option.flag
    if text := os.environ.get(option.variable):
        return text, f"environment variable {option.variable}"
    return config.getini(option.key), f"ini key {option.key}"


def _read(option: Option, text: str, origin: str) -> Any:
    try:
        value = option.read(text)
        if option.is_field:
            from lxsandbox.spec import SandboxSpec

            SandboxSpec.from_fields({option.name: value})
    except ValueError as error:  # SpecError is one
        hint = getattr(error, "hint", "")
        raise pytest.UsageError(f"{origin}: {error}" + (f"\nhint: {hint}" if hint else "")) from None
    return value
