"""The main command of one sandbox as the service sees it: started again by its policy or on request, or over for good."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lxsandbox.errors import Death, SandboxDied, SandboxError
from lxsandbox.restarts import Backoff, RestartPolicy

if TYPE_CHECKING:
    from lxsandbox.service.box import Box

__all__ = ["MainCommand"]

_NOT_STARTED = 125  # as container tools have it, where no other number says why


class MainCommand:
    """Hears from init when it has ended. `restarts` is how often the policy has had it started again."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._loop = asyncio.get_running_loop()
        self.policy = RestartPolicy()
        self.restarts = 0
        self._over: asyncio.Future[None] = self._loop.create_future()  # done where it is over, and the sandbox goes on
        self._backoff = Backoff()
        self._start = 0  # which start of the main command is the last one: init says of which one it tells the end
        self._began = self._loop.time()
        self._status = 0  # of the one that has ended, while it is about to be started again
        self._timer: asyncio.TimerHandle | None = None
        self._due = False  # its time has come, but the sandbox is not yet running, or is frozen
        self._task: asyncio.Task[None] | None = None

    def begin(self, restart: str) -> None:
        """The sandbox is about to start it, with this policy."""
        self.policy = RestartPolicy.parse(restart)
        self._began = self._loop.time()

    def ended(self, status: int, start: int) -> None:
        """Init says that the main command of its start number `start` has ended."""
        if start != self._start or self._box.ending:
            return  # it was killed in order to be started again, or with all the rest
        if not self.policy.wants(status, self.restarts):
            self._is_over(status)
            return
        self._status = status
        delay = self._backoff.after(self._loop.time() - self._began)
        self._timer = self._loop.call_later(delay, self._fall_due)

    def _fall_due(self) -> None:
        self._timer, self._due = None, True
        self.go_on()

    def go_on(self) -> None:
        """The sandbox runs, or does so again: do what was due meanwhile."""
        begun = self._task is not None and not self._task.done()
        if self._due and not begun and self._box.state in ("running", "paused") and not self._box.frozen:
            self._task = self._loop.create_task(self._by_policy())

    async def _by_policy(self) -> None:
        async with self._box.moving:
            if not self._due or self._box.ending or self._box.frozen:
                return  # cancelled meanwhile, of no use, or still due when it goes on
            self._due = False
            self.restarts += 1
            try:
                await self._again()
            except SandboxDied:
                return
            except SandboxError as error:  # what it starts from has gone, say
                self._is_over(getattr(error, "returncode", _NOT_STARTED))

    async def on_request(self) -> None:
        """Kill all that runs in it, and start the main command now. Raises what keeps it from that; the sandbox lives on."""
        self._cancel()
        async with self._box.moving:
            self._backoff = Backoff()
            await self._again()

    async def _again(self) -> None:
        self._start += 1
        if self._over.done():
            self._over = self._loop.create_future()
        if self._box.log is not None:
            self._box.log.begin_again()
        await self._box.ask("restart", start=self._start)
        self._began = self._loop.time()

    def _is_over(self, status: int) -> None:
        """It has ended, and is not started again: so ends the sandbox, where that was not said to be no end."""
        made, log = self._box.made, self._box.log
        if status == 0 and made is not None and made.message.get("may_end"):
            self._over.set_result(None)
            if log is not None:
                log.finish()
        else:
            self._box.end(Death(reason="exit", exit_code=status) if status >= 0 else Death(reason="signal", signal=-status))

    async def wait(self, timeout_seconds: float | None) -> bool:
        """Wait until it is over for good, or all of the sandbox has ended; False when that is not so in time."""
        futures = (self._over, self._box.ended)
        done, _ = await asyncio.wait(futures, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)

    def give_up(self) -> None:
        """From now on its end is its end: that of the one which was about to be started again, too."""
        waiting = self._cancel()
        self.policy = RestartPolicy()
        if waiting and not self._box.ending:
            self._is_over(self._status)

    def _cancel(self) -> bool:
        """Whether there was anything to cancel. A start that init has been asked for already is none."""
        waiting = self._timer is not None or self._due
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, False
        return waiting

    def sandbox_ended(self) -> None:
        """Nothing is started any more."""
        self._cancel()
