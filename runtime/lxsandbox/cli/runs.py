"""The runs of this user as an observer sees them: which sandboxes there are, and which one a reference means."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from lxsandbox.errors import SandboxError
from lxsandbox.sandbox.channel import Channel, ChannelClosed

__all__ = ["Running", "find", "observe", "running_sandboxes"]

# A service that does not answer in this time (stopped in a debugger, say) is left out rather than waited for.
_ANSWER_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """One sandbox as its service lists it; `folder` is the run folder of that service."""

    folder: str
    facts: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.facts["id"])

    @property
    def name(self) -> str:
        return str(self.facts["name"])


@contextlib.contextmanager
def observe(folder: str) -> Generator[Channel]:
    """A connection to the service of one run that owns nothing there. Raises OSError, ChannelClosed, TimeoutError."""
    from lxsandbox.service.run_folder import socket_path

    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(_ANSWER_SECONDS)
    try:
        sock.connect(socket_path(folder))
    except BaseException:
        sock.close()
        raise
    sock.settimeout(None)
    channel = Channel(sock)
    try:
        channel.call("hello", timeout=_ANSWER_SECONDS, observer=True, label="cli")
        yield channel
    finally:
        channel.close()


def running_sandboxes() -> list[Running]:
    """All sandboxes of all runs of this user, oldest first; a run that ends meanwhile is left out."""
    from lxsandbox.service.run_folder import live_runs

    found: list[Running] = []
    for folder in live_runs():
        with contextlib.suppress(OSError, ChannelClosed, SandboxError), observe(folder) as channel:
            listed, _ = channel.call("list", timeout=_ANSWER_SECONDS)
            found += [Running(folder=folder, facts=facts) for facts in listed["sandboxes"]]
    return sorted(found, key=lambda each: float(each.facts["created"]))


def find(reference: str) -> Running | None:
    """The sandbox with this id or name, or the only one whose id begins so. Raises SandboxError where several do."""
    running = running_sandboxes()
    exact = [each for each in running if reference in (each.id, each.name)]
    matches = exact or [each for each in running if reference and each.id.startswith(reference)]
    if len(matches) > 1:
        raise SandboxError(f"{reference} is more than one sandbox", hint=f"take an id: {', '.join(each.id for each in matches)}")
    return matches[0] if matches else None
