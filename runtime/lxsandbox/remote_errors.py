"""Errors that arrived over the wire, rebuilt as the exceptions they were."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lxsandbox import errors
from lxsandbox.errors import Death, HostUnsupported, NotReady, SandboxDied, SandboxError

__all__ = ["error_from_wire"]


def error_from_wire(error: Mapping[str, Any]) -> Exception:
    """The exception that `{"kind": ..., "message": ..., "hint": ..., ...}` describes; an unknown kind is a SandboxError."""
    kind, message, hint = error.get("kind"), str(error.get("message", "")), str(error.get("hint") or "")
    if kind == "OSError":
        # OSError picks its own subclass by errno: FileNotFoundError and the like.
        number = int(error.get("errno") or 0)
        return OSError(number, os.strerror(number), error.get("filename"))
    if kind == "SandboxDied":
        return SandboxDied(str(error["name"]), Death(**error["death"]))
    if kind == "NotReady":
        return NotReady(**{name: error[name] for name in ("name", "condition", "seconds", "seen", "log_tail")})
    if kind == "HostUnsupported":
        return HostUnsupported(message, hint=hint, capability=str(error.get("capability") or ""))
    known = getattr(errors, kind, None) if isinstance(kind, str) and kind in errors.__all__ else None
    if isinstance(known, type) and issubclass(known, SandboxError):
        return known(message, hint=hint)
    return SandboxError(message or f"unknown error {dict(error)!r}", hint=hint)
