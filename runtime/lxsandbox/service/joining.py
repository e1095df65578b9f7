"""A sandbox that joins networks while its root is built: both have to be done before its main command starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lxsandbox.service.box import Box
from lxsandbox.service.egress import Egress, wants_egress
from lxsandbox.service.networks import Networks
from lxsandbox.spec import SandboxSpec

__all__ = ["Joining"]


class Joining:
    """Begun as soon as there is a network namespace. What is joined while the build fails is left with the end of the box."""

    def __init__(
        self, networks: Networks, egress: Egress, spec: SandboxSpec, owner: object, start: Callable[[Box], None]
    ) -> None:
        """`start` is called with a sandbox that is in all its networks: with one that joins none, at once."""
        self._networks = networks
        self._egress = egress
        self._spec = spec
        self._owner = owner
        self._start = start
        self._task: asyncio.Task[None] | None = None
        self._built_first: Box | None = None

    def begin(self, box: Box) -> None:
        if not self._spec.networks and not wants_egress(self._spec):
            self._start(box)
        elif any(name.startswith("net.") for name in self._spec.sysctls):
            self._built_first = box  # they are set with the root, and are to hold for the links
        else:
            self._task = asyncio.get_running_loop().create_task(self._join(box))
            self._task.add_done_callback(_seen)

    async def _join(self, box: Box) -> None:
        await self._networks.join(box, self._spec, self._owner)
        await self._egress.join(box, self._spec)
        if not box.ending:
            self._start(box)

    async def done(self) -> None:
        """Of one that is built: wait until it has been told to start. Raises SandboxError."""
        if self._built_first is not None:
            await self._join(self._built_first)
        if self._task is not None:
            await self._task


def _seen(task: asyncio.Task[None]) -> None:
    """What went wrong is of no interest where the build failed before."""
    if not task.cancelled():
        task.exception()
