"""One run: its clients, its sandboxes, its pool, and its end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

from lxsandbox.conditions import READY_SECONDS
from lxsandbox.errors import Death, SandboxDied
from lxsandbox.service.box import Box
from lxsandbox.service.client import Client
from lxsandbox.service.configured import check_restart, configured, runs_own_command, stop_signal
from lxsandbox.service.egress import Egress
from lxsandbox.service.factory import Factory
from lxsandbox.service.forwards import Forwards
from lxsandbox.service.images import Images
from lxsandbox.service.joining import Joining
from lxsandbox.service.networks import Networks
from lxsandbox.service.pool import Pool
from lxsandbox.service.prepared import Prepared
from lxsandbox.service.readiness import Readiness
from lxsandbox.service.shapes import go_message, shape_of
from lxsandbox.service.snapshots import Snapshots
from lxsandbox.spec import Bind, Limits, SandboxSpec

__all__ = ["Run"]

_REMEMBERED = 1000  # sandboxes that have gone, whose cause of death may still be asked for


class Run:
    """What the service serves. `finished` is set when the last client has gone."""

    def __init__(self, name: str, factory: Factory) -> None:
        self.name = name
        self.factory = factory
        self.pool = Pool(factory)
        self.forwards = Forwards(name)
        self.readiness = Readiness()
        self.finished = asyncio.Event()
        self._clients: set[Client] = set()
        self._past: dict[str, Box] = {}
        self.networks = Networks(factory.spawner)
        self.egress = Egress(self.networks.hub)
        self.images = Images(factory, self.egress)
        self.snapshots = Snapshots(factory, self.images)

    def accept(self, sock: socket.socket) -> None:
        """Serve another client."""
        self._clients.add(Client(self, sock))

    def client_gone(self, client: Client) -> None:
        """Called when a connection has ended, for whatever reason."""
        self._clients.discard(client)
        self.networks.owner_gone(client)
        if not any(not other.observer for other in self._clients):
            self.finished.set()

    def nobody_came(self) -> None:
        """The time for the first client to come is over."""
        if not self._clients:
            self.finished.set()

    async def last_words(self, client: Client) -> bool:
        """Before the last client is told what is left, let the pool go too; whether it is the last."""
        last = all(other is client or other.observer or other.leaving for other in self._clients)
        if last:
            await self.pool.close()
        return last

    def known(self, name: str) -> Iterator[Box]:
        """The sandboxes with this id or name, living ones first."""
        for boxes in (self.factory.boxes, self._past):
            if name in boxes:
                yield boxes[name]
            called = [box for box in boxes.values() if box.name == name and box.owner is not None]
            yield from sorted(called, key=lambda box: box.ending)

    async def _prepare(self, spec: SandboxSpec, owner: Client) -> Prepared:
        """What a sandbox of this spec is made by. Raises SandboxError."""
        image = await self.images.find(spec.image, pull=owner.pull, offline=owner.offline, lock=owner.lock)
        full = configured(spec, image.config)
        check_restart(full)
        shape = shape_of(full, image.root, self.factory.facts, owner.visible if image.root.is_host else {})
        # The success of a command that nobody asked for ends nothing: an image's shell reads end-of-file and is done.
        more = {"may_end": runs_own_command(spec, image.config), "stop_signal": stop_signal(image.config)}
        return Prepared(image, shape, full, go_message(full, shape.facts, owner.env) | more)

    async def create(self, spec: SandboxSpec, limits: Limits, owner: Client) -> tuple[Box, socket.socket, bool]:
        """A running sandbox, the client's end of its first channel, and whether it came from the pool."""
        made = await self._prepare(spec, owner)
        joining = Joining(self.networks, self.egress, made.spec, owner, lambda box: self._start(box, made, owner))
        box, pooled = await self._built(made, limits, joining.begin)
        try:
            await joining.done()
            await box.started()
            await self.forwards.publish(box)
            await self._ready(box)
        except BaseException:
            box.end(Death(reason="failed"))
            raise
        self.pool.used(made.shape, limits, made.message)
        return box, box.hand_over(), pooled

    async def _built(self, made: Prepared, limits: Limits, then: Callable[[Box], None]) -> tuple[Box, bool]:
        """A parked sandbox, or one told more by `then` as soon as may be; and whether it came from the pool."""
        box = self.pool.take(made.shape)
        if box is None:
            return await self.factory.build(made.shape, limits, then), False
        try:
            if box.limits != limits:
                box.cgroup.update(limits)
                box.limits = limits
            then(box)
        except BaseException:
            box.end(Death(reason="failed"))
            raise
        return box, True

    def _start(self, box: Box, made: Prepared, owner: object) -> None:
        box.owner = owner
        self._remember(box)
        box.start(made)

    async def _ready(self, box: Box) -> None:
        """Wait until it is as its spec wants it to be handed over. Raises NotReady, SandboxDied, SandboxError."""
        if box.spec.ready is not None:
            with self.factory.quiet.aside():
                await self.readiness.wait(box, box.spec.ready, READY_SECONDS)

    async def reset(self, old: Box) -> tuple[Box, socket.socket, bool]:
        """A running sandbox such as `old` was at its start, which has ended then; the rest is as from `create`.

        Raises SandboxError; `old` goes on then, unless it had to make room for the other.
        """
        async with old.moving, self.forwards.kept(old.line):
            if old.ending or old.made is None:
                raise SandboxDied(old.name, await old.ended)
            made = replace(old.made, spec=old.spec)
            box, pooled = await self._built(made, old.limits, lambda _: None)
            try:
                if _is_alone(made.spec):
                    old.end(Death(reason="reset"))
                    await old.ended
                box.line = old.line
                await self.networks.pass_on(old, box)
                await self.egress.join(box, made.spec)
                self._start(box, made, old.owner)
                await box.started()
                await self._ready(box)
                await self.forwards.moved(box)
            except BaseException:
                box.end(Death(reason="failed"))
                raise
            old.end(Death(reason="reset"))
        self.pool.used(made.shape, old.limits, made.message)
        return box, box.hand_over(), pooled

    def _remember(self, box: Box) -> None:
        self._past[box.id] = box
        while len(self._past) > _REMEMBERED:
            oldest = next(iter(self._past))
            if oldest in self.factory.boxes:
                break  # it is still alive
            del self._past[oldest]

    async def prewarm(self, spec: SandboxSpec, limits: Limits, owner: Client, count: int) -> None:
        """Keep `count` sandboxes of this spec's shape ready."""
        made = await self._prepare(spec, owner)
        self.pool.want(made.shape, limits, made.message, count)

    async def close(self, deadline_seconds: float) -> None:
        """End and remove everything."""
        await self.pool.close()
        await self.forwards.close()
        for box in list(self.factory.boxes.values()):
            box.end(Death(reason="closed"))
        await self.factory.settle(deadline_seconds)
        await self.egress.stop()
        await self.networks.stop()
        await self.snapshots.close()
        await self.images.close()
        await asyncio.to_thread(self.factory.tree.remove)
        self.factory.close()


def _is_alone(spec: SandboxSpec) -> bool:
    """Whether no other can be there at the same time: addresses, or a port or a folder of the host, are its own."""
    return (
        spec.network == "host"
        or bool(spec.networks)
        or any(isinstance(mount, Bind) and mount.mode == "rw" for mount in spec.mounts)
    )
