"""The service's end of the forwarder: starting it, asking it, and knowing when it has died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from lxsandbox import wire
from lxsandbox.errors import SandboxError
from lxsandbox.service.requests import Requests
from lxsandbox.syscalls.ends import ended_within

__all__ = ["ForwarderDied", "ForwarderLink"]

_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}


class ForwarderDied(SandboxError):
    """It ended over a request; another one knows nothing yet."""

    def __init__(self) -> None:
        super().__init__("the forwarder has died", hint="it was killed, or crashed; try again")


class ForwarderLink:
    """Requests to the forwarder, done in order. `died` is called when it has ended without being told to."""

    def __init__(self, run: str, died: Callable[[], None]) -> None:
        self._run = run
        self._died = died
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: Requests | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        return self._process.pid if self._process is not None and self._requests is not None else None

    def start(self) -> None:
        """Start one; it knows of no sandbox. Returns when what the one before had is free again."""
        self._reap()
        ours, theirs = wire.pair()
        script = os.path.join(os.path.dirname(__file__), "..", "forwarder", "__main__.py")
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", os.path.abspath(script), str(theirs.fileno()), self._run],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for pytest, which then lets go
            )
        self._requests = Requests(ours, died=ForwarderDied, gone=self._gone)

    async def ask(self, op: str, fds: Sequence[int] = (), **fields: Any) -> dict[str, Any]:
        """The answer. Raises OSError as the forwarder met it, and ForwarderDied."""
        if self._requests is None:
            raise ForwarderDied
        message, passed = await self._requests.ask({"op": op, **fields}, fds)
        for fd in passed:
            os.close(fd)  # it passes none
        if "error" in message:
            raise OSError(message["error"]["errno"], message["error"]["message"])
        answer: dict[str, Any] = message["ok"]
        return answer

    def _gone(self) -> None:
        self._requests = None
        self._died()

    def _reap(self) -> None:
        """It has closed its end, so it ends, and with it goes what it has open."""
        if self._process is not None:
            if not ended_within(self._process.pid, 5):
                self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it."""
        self._died = _nothing
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
        if self._requests is not None:
            self._requests.close()
        self._reap()


def _nothing() -> None:
    """What there is to do once it was meant to end."""
