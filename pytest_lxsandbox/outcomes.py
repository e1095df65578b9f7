"""What a test becomes when a sandbox could not be had: failed or skipped, with the reason and what to do, without our frames."""

from __future__ import annotations

import os
import traceback

import pytest

from lxsandbox.errors import HostUnsupported, SandboxError
from pytest_lxsandbox.options import settings

__all__ = ["judge"]

_OURS = ("lxsandbox", "pytest_lxsandbox", "_pytest", "pluggy", "contextlib")


def judge(error: Exception, item: pytest.Item, when: str) -> None:
    """Raise the outcome that stands for `error`; return where pytest should show the error itself.

    An error in a test's own code is shown where it happened; only the set-up is cut down to the message.
    """
    if isinstance(error, HostUnsupported) and _skips(item.config):
        raise pytest.skip.Exception(_text(error)) from None
    if isinstance(error, SandboxError) and when == "setup":
        raise pytest.fail.Exception(f"{_text(error)}{_place(error)}", pytrace=False) from None


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
