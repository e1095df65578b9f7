"""The init of one sandbox as the client sees it: requests, the ends of commands, and why it died.

What is asked of it is decided by the objects that users hold.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from lxsandbox.errors import Death, SandboxDied, SandboxError
from lxsandbox.sandbox.channel import Channel, ChannelClosed, CommandExit

if TYPE_CHECKING:
    from lxsandbox.sandbox.connection import ServiceConnection

__all__ = ["Control"]


class Control:
    """One sandbox's control channel, together with the service that knows what became of the sandbox.

    Every method raises SandboxDied once the sandbox has ended, and ServiceLost once the service has.
    """

    def __init__(self, channel: Channel, connection: ServiceConnection, sandbox_id: str, name: str) -> None:
        self.channel = channel
        self.connection = connection
        self.sandbox_id = sandbox_id
        self.name = name
        self.death: Death | None = None
        self.paused = False

    def replace(self, channel: Channel, sandbox_id: str, name: str) -> None:
        """Have another sandbox behind this from now on. What still waits for the old one gets SandboxDied."""
        old, self.channel = self.channel, channel
        self.sandbox_id, self.name = sandbox_id, name
        self.death, self.paused = None, False
        old.close()

    def request(self, op: str, *, timeout: float | None = None, **fields: Any) -> dict[str, Any]:
        """Ask init; descriptors that come with the answer are closed."""
        answer, fds = self._call(op, timeout, fields)
        for fd in fds:
            os.close(fd)
        return answer

    def request_fd(self, op: str, **fields: Any) -> int:
        """Ask init for something that it answers with one descriptor, the caller's from then on."""
        _, fds = self._call(op, None, fields)
        return _only(fds, op)

    def execute(self, fds: Sequence[int], timeout: float | None = None, **fields: Any) -> tuple[CommandExit, list[int]]:
        """Start a command with `fds` as its stdin, stdout and stderr (or none, and a terminal's master comes back)."""
        self.check_usable()
        channel = self.channel
        try:
            return channel.execute(fds, timeout, **fields)
        except ChannelClosed:
            self._raise_end_of(channel)

    def wait_exit(self, command: CommandExit, deadline: float | None) -> int | None:
        """The returncode of `command`, or None where `deadline` came first."""
        if command.status is None and self.death is not None:
            self.raise_death()
        channel = self.channel
        try:
            return channel.wait_exit(command, deadline)
        except ChannelClosed:
            self._raise_end_of(channel if channel.started(command) else None)

    def service(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask the service about this sandbox."""
        if self.death is not None:
            self.raise_death()
        return self.connection.request(op, sandbox=self.sandbox_id, **fields)

    def service_fd(self, op: str, **fields: Any) -> int:
        """Ask the service about this sandbox for something that it answers with one descriptor, the caller's from then on."""
        if self.death is not None:
            self.raise_death()
        return self.connection.request_fd(op, sandbox=self.sandbox_id, **fields)

    def service_channel(self, op: str) -> tuple[dict[str, Any], Channel]:
        """Ask the service for another sandbox in the place of this one: what it says, and the channel to its init."""
        if self.death is not None:
            self.raise_death()
        return self.connection.request_channel(op, sandbox=self.sandbox_id)

    def raise_death(self) -> NoReturn:
        """Raise SandboxDied with the cause, asking the service for it the first time."""
        if self.death is None:
            known = self.connection.request("death", sandbox=self.sandbox_id).get("death")
            self.death = Death(**known) if known else Death(reason="its control channel ended, for no known reason")
        raise SandboxDied(self.name, self.death) from None

    def _call(self, op: str, timeout: float | None, fields: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        self.check_usable()
        channel = self.channel
        try:
            return channel.call(op, (), timeout, **fields)
        except ChannelClosed:
            self._raise_end_of(channel)

    def _raise_end_of(self, channel: Channel | None) -> NoReturn:
        """The sandbox behind `channel` has ended: by what has ended this one, unless it was replaced before."""
        if channel is not self.channel:
            raise SandboxDied(self.name, Death(reason="reset")) from None
        self.raise_death()

    def check_usable(self) -> None:
        """Raise what any request would raise at once: SandboxDied, or SandboxError while it is paused."""
        if self.death is not None:
            self.raise_death()
        if self.paused and not self.channel.ended:
            raise SandboxError(f"sandbox {self.name} is paused, and answers nothing", hint="call resume() first")


def _only(fds: list[int], op: str) -> int:
    if len(fds) != 1:
        for fd in fds:
            os.close(fd)
        raise SandboxError(f"{op!r} was answered with {len(fds)} descriptors instead of one")
    return fds[0]
