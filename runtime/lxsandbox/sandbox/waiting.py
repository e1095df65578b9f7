"""What `Sandbox` has for waiting until something is true inside. The service does the waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxsandbox.conditions import READY_SECONDS, Condition, check_condition
from lxsandbox.errors import SpecError

if TYPE_CHECKING:
    from lxsandbox.sandbox.control import Control

__all__ = ["Waiting"]


class Waiting:
    """A part of `Sandbox`."""

    _control: Control

    def wait_until(self, condition: Condition, timeout: float | None = READY_SECONDS) -> None:
        """Return once `condition` holds: `Port Http Log Command File Healthy`, combined with `&` (each has held once) and `|`.

        Raises NotReady (of `lxsandbox.errors`, a TimeoutError) after `timeout` seconds, with what was seen last and the last
        log lines; None waits for ever. Raises SandboxDied at once when the sandbox ends meanwhile, SpecError for what cannot
        come true in it, CommandNotFound. While the sandbox is paused, it goes on waiting.
        """
        if timeout is not None and (
            isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 10**8
        ):
            raise SpecError(f"timeout={timeout!r} is not a number of seconds above 0", hint="None waits for ever")
        checked = check_condition(condition, what="condition")
        self._control.service("wait_until", condition=checked.as_json(), seconds=timeout)
