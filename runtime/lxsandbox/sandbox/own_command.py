"""The part of `Sandbox` that is about its own command: what it prints, and that it is started again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from lxsandbox.errors import SpecError
from lxsandbox.sandbox.log_lines import LogLines
from lxsandbox.sandbox.main_command import MainCommand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxsandbox.sandbox.control import Control
    from lxsandbox.spec import SandboxSpec

__all__ = ["OwnCommand"]


class OwnCommand:
    """The image's or the spec's own command, which init starts, and the service when it is to be started again."""

    spec: SandboxSpec
    _control: Control

    @property
    def main(self) -> MainCommand | None:
        """The image's or the spec's own command, as it runs now; None where there is none."""
        pid = self._control.request("main").get("pid")
        return None if pid is None else MainCommand(self._control, pid, restarted=self.spec.restart != "no")

    @property
    def restarts(self) -> int:
        """How often its main command was started again because it had ended, as the spec's `restart` has it."""
        death = self._control.death
        return death.restarts if death is not None else int(self._control.service("restarts")["restarts"])

    @overload
    def logs(self, *, tail: int | None = None) -> str: ...
    @overload
    def logs(self, *, tail: int | None = None, follow: Literal[False]) -> str: ...
    @overload
    def logs(self, *, tail: int | None = None, follow: Literal[True]) -> Iterator[str]: ...
    def logs(self, *, tail: int | None = None, follow: bool = False) -> str | Iterator[str]:
        """What the main command has printed, its last MiB, or of that the last `tail` lines.

        With `follow` an iterator of lines, each with its end as files have it, as they come: from the beginning of what is kept,
        or the last `tail` lines, until the sandbox ends or is reset, or the main command has ended for good. Nobody waits for who
        reads slowly: what was printed meanwhile beyond a MiB is left out, and a line `[… N bytes dropped]` stands in its place.
        """
        if tail is not None and (isinstance(tail, bool) or not isinstance(tail, int) or tail < 0):
            raise SpecError(f"tail={tail!r} is not a number of lines", hint="0 or more, or None for all that is kept")
        if follow:
            return LogLines(self._control.service_fd("follow_logs", tail=tail))
        text: str = self._control.service("logs", tail=tail)["text"]
        return text

    def restart(self) -> None:
        """Kill every process in it, and start its main command again, now. Files stay as they are.

        Returns when that has been started, whatever `ready` says: `wait_until()` waits for more.
        """
        self._control.check_usable()
        self._control.service("restart")
