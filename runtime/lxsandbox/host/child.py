"""The program of the short-lived child: every attempt in a fork of its own, side by side, each bounded in time.

Prints one JSON object a line: capability name -> {"detail": …} where it is there, with "cause" (see `fixes.py`) where not.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from lxsandbox.host.attempts import ATTEMPTS
from lxsandbox.host.cgroup_attempts import CGROUP_ATTEMPTS
from lxsandbox.host.lack import Lack

__all__ = ["ATTEMPT_SECONDS", "main"]

ATTEMPT_SECONDS = 5.0

Answers = dict[str, dict[str, Any]]
Attempt = Callable[[str], Answers]


def main(arguments: Sequence[str]) -> None:
    """`arguments`: the scratch folder, then the names of the capabilities that are asked for."""
    scratch, *names = arguments
    attempts: dict[tuple[str, ...], Attempt] = dict([*ATTEMPTS.items(), *CGROUP_ATTEMPTS.items()])
    chosen = {answered: attempt for answered, attempt in attempts.items() if not set(names).isdisjoint(answered)}
    running = [_Running(answered, attempt, scratch) for answered, attempt in chosen.items()]
    deadline = time.monotonic() + ATTEMPT_SECONDS
    for attempt in running:
        print(json.dumps(attempt.answers(deadline)), flush=True)
    for attempt in running:  # last, since what hangs in the kernel cannot be reaped; every answer is out by now
        attempt.reap()


class _Running:
    """One attempt on its way, in a forked process group that is killed if it is late."""

    def __init__(self, names: Sequence[str], attempt: Attempt, scratch: str) -> None:
        self._names = names
        self._exit_code: int | None = None
        self._read_end, write_end = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _become_attempt(names, attempt, scratch, write_end)
        os.close(write_end)

    def answers(self, deadline: float) -> Answers:
        text = b""
        while select.select([self._read_end], [], [], max(0.0, deadline - time.monotonic()))[0]:
            block = os.read(self._read_end, 65536)
            if not block:
                return self._ended(text)
            text += block
        self._kill()
        return self._all({"cause": "too-slow", "detail": f"no answer within {ATTEMPT_SECONDS:.0f} s"})

    def reap(self) -> int:
        """The exit code, once it has ended."""
        if self._exit_code is None:
            self._exit_code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self._exit_code

    def _ended(self, text: bytes) -> Answers:
        status = self.reap()
        if text:
            found: Answers = json.loads(text)
            return found
        return self._all({"cause": "unknown", "detail": f"the attempt ended with status {status}"})

    def _kill(self) -> None:
        for kill in (os.killpg, os.kill):  # the group is not there yet where the fork had no time to make it
            with contextlib.suppress(ProcessLookupError):
                kill(self._pid, signal.SIGKILL)

    def _all(self, answer: dict[str, Any]) -> Answers:
        return _same_for_all(self._names, answer)


def _become_attempt(names: Sequence[str], attempt: Attempt, scratch: str, write_end: int) -> None:
    """In the fork; never returns."""
    try:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):  # else whoever waits for the end of the child's output waits for a hung attempt too
            os.dup2(null, fd)
        os.write(write_end, json.dumps(_outcome(names, attempt, scratch)).encode())
    finally:
        os._exit(0)


def _outcome(names: Sequence[str], attempt: Attempt, scratch: str) -> Answers:
    try:
        return attempt(scratch)
    except Lack as lack:
        return _same_for_all(names, lack.as_json())
    except Exception as error:  # noqa: BLE001  # the boundary of a process: whatever it was is the answer
        return _same_for_all(names, {"cause": "unknown", "detail": f"{type(error).__name__}: {error}"})


def _same_for_all(names: Sequence[str], answer: dict[str, Any]) -> Answers:
    return dict.fromkeys(names, answer)
