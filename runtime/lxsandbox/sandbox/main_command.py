"""A sandbox's main command: the one that init started itself, and whose end is the sandbox's end."""

from __future__ import annotations

from subprocess import TimeoutExpired
from typing import TYPE_CHECKING

from lxsandbox.errors import Death, SandboxDied

if TYPE_CHECKING:
    from lxsandbox.sandbox.control import Control

__all__ = ["MainCommand"]


class MainCommand:
    """The image's or the spec's own command. `pid` is its number inside the sandbox; what it prints is `Sandbox.logs()`."""

    def __init__(self, control: Control, pid: int) -> None:
        self.pid = pid
        self._control = control

    def poll(self) -> int | None:
        """Its returncode where it has ended (-N for signal N), else None."""
        try:
            status: int | None = self._control.request("main").get("status")
        except SandboxDied as died:
            return _status(died.death)
        return status

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end. None where something else ended the sandbox. Raises TimeoutExpired.

        Its end is the sandbox's, but for an image's own command that was successful.
        """
        if self._control.death is None and not self._control.service("wait_main", seconds=timeout)["ended"]:
            raise TimeoutExpired(f"main command of {self._control.name}", timeout or 0.0)
        return self.poll()

    def send_signal(self, signal: int) -> None:
        self._control.request("signal", pid=self.pid, signal=int(signal))

    def __repr__(self) -> str:
        return f"<main command {self.pid} of sandbox {self._control.name}>"


def _status(death: Death) -> int | None:
    return -death.signal if death.signal is not None else death.exit_code
