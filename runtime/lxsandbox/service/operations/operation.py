"""The form of what a client can ask for: a function of the client and its message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from lxsandbox import wire

if TYPE_CHECKING:
    from lxsandbox.service.client import Client

__all__ = ["Answer", "Operation"]

Answer = tuple[dict[str, Any], list[int]]
"""What goes back, and the descriptors that go with it, which are closed here once they are on their way."""

Operation = Callable[["Client", wire.Message], Awaitable[Answer]]
"""Raises SandboxError or OSError, which go back in the place of an answer."""
