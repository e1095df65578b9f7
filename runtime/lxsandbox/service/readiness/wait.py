"""One wait: its parts side by side, the end of the sandbox, and the time that is up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lxsandbox.conditions import All, AnyOf, Command, Condition, File, Healthy, Http, Log, Port
from lxsandbox.errors import NotReady, SandboxDied, SandboxError
from lxsandbox.service.readiness.commands import CommandWatch
from lxsandbox.service.readiness.files import FileWatch
from lxsandbox.service.readiness.health import HealthWatch
from lxsandbox.service.readiness.link import LinkLost
from lxsandbox.service.readiness.pace import Pace
from lxsandbox.service.readiness.ports import PortWatch
from lxsandbox.service.readiness.printed import LogWatch
from lxsandbox.service.readiness.watch import Sight, Watch

if TYPE_CHECKING:
    from lxsandbox.service.box import Box

__all__ = ["Readiness"]

_END_SECONDS = 5.0  # from the end of init's channel to the news of its own


class Readiness:
    """All waits of a run."""

    def __init__(self) -> None:
        self._pace = Pace()

    async def wait(self, box: Box, condition: Condition, seconds: float | None) -> None:
        """Return once `condition` holds in the running `box`.

        Raises NotReady after `seconds`, SandboxDied as soon as it has ended, SpecError for what cannot come true there, and
        what keeps a command from being started. Whatever way it ends, nothing of it is left.
        """
        sight = Sight(box, self._pace)
        tree = _Tree(condition, sight)
        waiting = asyncio.get_running_loop().create_task(tree.come_true())
        try:
            await asyncio.wait((waiting, box.ended), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done() and not isinstance(waiting.exception(), LinkLost):
                waiting.result()
            elif waiting.done() or box.ended.done():
                raise SandboxDied(box.name, await box.wait_ended(_END_SECONDS))
            else:
                seen = [(repr(part), watch.seen) for part, watch in tree.watches()]
                raise NotReady(box.name, repr(condition), seconds or 0.0, seen, box.log.tail() if box.log is not None else "")
        finally:
            await _end(waiting)
            await sight.close()


class _Tree:
    """A condition and what watches it, or the conditions that it is combined of."""

    def __init__(self, condition: Condition, sight: Sight) -> None:
        self._condition = condition
        self._branches = [_Tree(part, sight) for part in condition.parts] if isinstance(condition, All | AnyOf) else []
        self._watch = None if self._branches else _watch(condition, sight)

    def watches(self) -> Iterator[tuple[Condition, Watch]]:
        """Each part that is no combination."""
        if self._watch is not None:
            yield self._condition, self._watch
        for branch in self._branches:
            yield from branch.watches()

    async def come_true(self) -> None:
        """Return once it holds. Raises SandboxError as soon as a part of it does, LinkLost."""
        if self._watch is not None:
            await self._watch.come_true()
        else:
            works = [branch.come_true() for branch in self._branches]
            await _side_by_side(works, one_will_do=isinstance(self._condition, AnyOf))


async def _side_by_side(works: Sequence[Coroutine[Any, Any, None]], *, one_will_do: bool) -> None:
    """Do all of them, or the first; none goes on after this. Raises what the first that fails does."""
    tasks = [asyncio.get_running_loop().create_task(work) for work in works]
    when = asyncio.FIRST_COMPLETED if one_will_do else asyncio.FIRST_EXCEPTION
    try:
        done, _ = await asyncio.wait(tasks, return_when=when)
        failed = [error for task in done if (error := task.exception()) is not None]
        if failed and not (one_will_do and len(failed) < len(done)):
            raise failed[0]
    finally:
        await _end(*tasks)


async def _end(*tasks: asyncio.Task[None]) -> None:
    """Have them end now. How they do is of no interest."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _watch(condition: Condition, sight: Sight) -> Watch:
    match condition:
        case Port():
            return PortWatch(condition, sight)
        case Http():
            # http.client takes longer to load than a sandbox to start: only who waits for HTTP pays for it.
            from lxsandbox.service.readiness.answers import HttpWatch

            return HttpWatch(condition, sight)
        case Log():
            return LogWatch(condition, sight)
        case Command():
            return CommandWatch(condition, sight)
        case File():
            return FileWatch(condition, sight)
        case Healthy():
            return HealthWatch(sight)
        case _:
            raise SandboxError(f"nothing is known of how to wait for {condition!r}")
