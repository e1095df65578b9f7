"""`Healthy`: the image's own check succeeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxsandbox.errors import SpecError
from lxsandbox.service.readiness.commands import Attempts

if TYPE_CHECKING:
    from lxsandbox.service.box import Box
    from lxsandbox.service.readiness.watch import Sight

__all__ = ["HealthWatch"]

_AGAIN_SECONDS = 0.05  # and not the image's own interval, which is for servers that run for months
_SHELL = ("/bin/sh", "-c")


class HealthWatch:
    """Runs the image's check at once, and again a moment after it has failed."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._attempts: Attempts | None = None

    @property
    def seen(self) -> str:
        """What was seen last."""
        return "the check has not run yet" if self._attempts is None else f"the check: {self._attempts.seen}"

    async def come_true(self) -> None:
        args, seconds = _check(self._sight.box)
        self._attempts = Attempts({"args": args}, self._sight, seconds=seconds)
        with self._sight.pace.turns(_AGAIN_SECONDS, costly=True) as turns:
            while not await self._attempts.succeeds():
                await turns.pause()


def _check(box: Box) -> tuple[list[str], float | None]:
    """The check of the box's image as a command, and its time-out. Raises SpecError where the image has none."""
    config = None if box.made is None else box.made.image.config
    check = None if config is None else config.healthcheck
    test = () if check is None else check.test
    if check is None or config is None or not test or test[0] == "NONE":
        raise SpecError(
            f"Healthy() cannot come true: image {box.spec.image!r} has no health check",
            hint="write a HEALTHCHECK into its Containerfile, or wait for Port(…), Http(…) or Command(…)",
        )
    if test[0] == "CMD-SHELL":
        return [*(config.shell or _SHELL), *test[1:]], check.timeout_seconds or None
    return [*test[1:]], check.timeout_seconds or None
