"""The errors that users see: by whose fault, with what to do about it as a note.

Every error of ours derives from `SandboxError`. Facts are attributes, so that reports and tests need not parse text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "CommandNotExecutable",
    "CommandNotFound",
    "Death",
    "HostUnsupported",
    "ImageError",
    "NotReady",
    "SandboxDied",
    "SandboxError",
    "ServiceLost",
    "SpecError",
]


class SandboxError(Exception):
    """Base class. `hint`, where there is one, says what to do; it is shown as a note under the message."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")


class SpecError(SandboxError, ValueError):
    """The user asked for something that makes no sense, whatever the host: a wrong size, an unknown field."""


class HostUnsupported(SandboxError):
    """This host lacks something that was asked for. `capability` is its name in `lxsandbox doctor`."""

    def __init__(self, message: str, *, hint: str = "", capability: str = "") -> None:
        super().__init__(message, hint=hint)
        self.capability = capability


class ImageError(SandboxError):
    """An image does not exist, cannot be read, or holds something that is refused."""


class ServiceLost(SandboxError):
    """The service of this run has gone (killed, or crashed): its sandboxes went with it."""


class CommandNotFound(SandboxError, FileNotFoundError):
    """The command, or the folder it should start in, does not exist in the sandbox."""

    returncode = 127  # as shells and container tools have it


class CommandNotExecutable(SandboxError, PermissionError):
    """The command exists in the sandbox and cannot be executed."""

    returncode = 126


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """Why a sandbox ended.

    `reason` is one of `exit` (its main command ended), `signal`, `oom`, `timeout` (the spec's `timeout`), `closed`,
    `killed` (by `kill()` or `stop()`), `reset` (another took its place), `failed` (it never started), `lost` (the service died).
    `restarts`: how often its main command was started again before, as the spec's `restart` has it.
    """

    reason: str
    exit_code: int | None = None
    signal: int | None = None
    memory_limit_bytes: int | None = None
    memory_peak_bytes: int | None = None
    timeout_seconds: float | None = None
    restarts: int = 0
    log_tail: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        match self.reason:
            case "exit":
                return f"its main command exited with code {self.exit_code}{self._tries()}"
            case "signal":
                return f"killed by signal {self.signal}{self._tries()}"
            case "oom":
                return f"killed: out of memory, limit {_mib(self.memory_limit_bytes)}, peak {_mib(self.memory_peak_bytes)}"
            case "timeout":
                return f"timed out: it ran longer than its timeout of {self.timeout_seconds} s"
            case "closed":
                return "it was closed"
            case "killed":
                return "it was killed or stopped on request"
            case "reset":
                return "it was reset, and a new one took its place"
            case "lost":
                return "the service that held it has died"
            case _:
                return self.reason

    def _tries(self) -> str:
        times = "once" if self.restarts == 1 else f"{self.restarts} times"
        return f", after it was restarted {times}" if self.restarts else ""


class SandboxDied(SandboxError):
    """The sandbox has ended; `death` says why. Every later call raises it again."""

    def __init__(self, name: str, death: Death) -> None:
        super().__init__(f"sandbox {name} has died: {death}")
        self.name = name
        self.death = death
        if death.log_tail:
            self.add_note("last log lines:\n" + death.log_tail)


class NotReady(SandboxError, TimeoutError):
    """What was waited for in a sandbox has not come true in time; the sandbox lives on.

    `condition` is what was waited for, as it is written, `seen` has what was seen last of each of its parts.
    """

    def __init__(self, name: str, condition: str, seconds: float, seen: Sequence[tuple[str, str]], log_tail: str) -> None:
        parts = "".join(f"\n  {part}: {last}" for part, last in seen)
        super().__init__(f"sandbox {name} was not ready within {seconds:g} s: waited for {condition}, and saw last{parts}")
        self.name = name
        self.condition = condition
        self.seconds = seconds
        self.seen = [(part, last) for part, last in seen]
        self.log_tail = log_tail
        if log_tail:
            self.add_note("last log lines:\n" + log_tail)

    def as_json(self) -> dict[str, Any]:
        """The arguments by which it is made again."""
        names = ("name", "condition", "seconds", "seen", "log_tail")
        return {name: getattr(self, name) for name in names}


def _mib(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**20:.0f} MiB"
