"""What a test becomes when a sandbox could not be had: failed or skipped, with the reason and what to do, without our frames."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
import types

import pytest

from lxsandbox.errors import HostUnsupported, SandboxError
from pytest_lxsandbox.options import settings

__all__ = ["judge"]

_RUNTIME = ("lxsandbox", "pytest_lxsandbox")
_CALLS = "lxsandbox.sandbox.calls"  # raises what the user's function raised in the sandbox
_OURS = (*_RUNTIME, "_pytest", "pluggy", "contextlib")


def judge(error: Exception, item: pytest.Item, when: str) -> None:
    """Raise the outcome that stands for `error`; return where pytest should show the error itself.

    An error in a test's own code is shown at the line it is about; only the set-up is cut down to the message.
    """
    if isinstance(error, HostUnsupported) and when != "teardown" and _skips(item.config):
        raise pytest.skip.Exception(_text(error)) from None
    if isinstance(error, SandboxError) and when == "setup":
        raise pytest.fail.Exception(f"{_text(error)}{_place(error)}", pytrace=False) from None
    if not item.config.getoption("fulltrace"):
        _hide_our_frames(error)


def _hide_our_frames(error: Exception) -> None:
    """End the traceback of an error that this package raises at the line of the user's code that it is about.

    Any other error out of our code is a fault of ours, and is shown whole.
    """
    entries: list[types.TracebackType] = []
    entry = error.__traceback__
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    where = [_module(entry) for entry in entries]
    meant = isinstance(error, SandboxError | OSError | subprocess.SubprocessError) or _CALLS in where[-1:]
    theirs = max((index for index, module in enumerate(where) if not _is_ours_or_below(module)), default=-1)
    if not meant or theirs < 0 or not any(_is_ours(module) for module in where[theirs + 1 :]):
        return
    shown: types.TracebackType | None = None
    for entry in reversed(entries[: theirs + 1]):
        shown = types.TracebackType(shown, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    error.__traceback__ = shown


def _module(entry: types.TracebackType) -> str:
    return str(entry.tb_frame.f_globals.get("__name__", ""))


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in _RUNTIME


def _is_ours_or_below(module: str) -> bool:
    return _is_ours(module) or module.partition(".")[0] in sys.stdlib_module_names


def _skips(config: pytest.Config) -> bool:
    return settings(config).unsupported == "skip" and os.environ.get("LXSANDBOX_MUST_RUN", "") in ("", "0")


def _text(error: SandboxError) -> str:
    return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])


def _place(error: SandboxError) -> str:
    """The line of the user's own code, a fixture say, that the error came through last."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _OURS:
            return f"\n{frame.f_code.co_filename}:{line}: in {frame.f_code.co_name}"
    return ""
