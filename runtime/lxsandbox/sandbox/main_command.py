"""A sandbox's main command: the one that init started itself, and whose end is the sandbox's end."""

from __future__ import annotations

from subprocess import TimeoutExpired
from typing import TYPE_CHECKING

from lxsandbox.errors import Death, SandboxDied

if TYPE_CHECKING:
    from lxsandbox.sandbox.control import Control

__all__ = ["MainCommand"]


class MainCommand:
    """The image's or the spec's own command; what it prints is `Sandbox.logs()`.

    `pid` is its number inside the sandbox when it was asked for: one that the spec's `restart` has started again has another.
    The rest is about the command, whichever process that is now.
    """

    def __init__(self, control: Control, pid: int, *, restarted: bool = False) -> None:
        self.pid = pid
        self._control = control
        self._restarted = restarted  # when it has ended, maybe

    def poll(self) -> int | None:
        """Its returncode where it has ended for good (-N for signal N); None while it runs, or is about to be started again."""
        try:
            if self._restarted and not self._control.service("wait_main", seconds=0)["ended"]:
                return None
            status: int | None = self._control.request("main").get("status")
        except SandboxDied as died:
            return _status(died.death)
        return status

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until it has ended for good. None where something else ended the sandbox. Raises TimeoutExpired.

        One that is to be started again has not. Its end is the sandbox's, but for an image's own command that was successful.
        """
        if self._control.death is None and not self._control.service("wait_main", seconds=timeout)["ended"]:
            raise TimeoutExpired(f"main command of {self._control.name}", timeout or 0.0)
        return self.poll()

    def send_signal(self, signal: int) -> None:
        """Signal the process that it is now; where it has ended, that is no error."""
        pid = self._control.request("main").get("pid")
        if pid is not None:
            self._control.request("signal", pid=pid, signal=int(signal))

    def __repr__(self) -> str:
        return f"<main command {self.pid} of sandbox {self._control.name}>"


def _status(death: Death) -> int | None:
    return -death.signal if death.signal is not None else death.exit_code
