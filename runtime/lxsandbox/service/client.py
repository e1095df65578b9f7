"""One client of the service: what it asks, and what it owns. When it goes, all that it owns goes."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import closing, nullcontext, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lxsandbox import wire
from lxsandbox.errors import Death, HostUnsupported, SandboxDied, SandboxError
from lxsandbox.image import Image
from lxsandbox.service import leaks
from lxsandbox.service.box import Box
from lxsandbox.service.facts import shown_folders
from lxsandbox.service.failures import error_as_json
from lxsandbox.service.shapes import limits_of
from lxsandbox.service.sockets import MessageSocket
from lxsandbox.service.telling import Telling
from lxsandbox.spec import SandboxSpec, check_env

if TYPE_CHECKING:
    import socket

    from lxsandbox.images.transports import Pull
    from lxsandbox.service.run import Run

__all__ = ["Client"]

_log = logging.getLogger(__name__)
_SETTLE_SECONDS = 5.0
_IN_FRONT = ("create", "reset", "close", "kill")  # what a test waits for; work done ahead gives way to it
_Answer = tuple[dict[str, Any], list[int]]


class Client:
    """A connection, its requests (each a task), and its figures for the report."""

    def __init__(self, run: Run, sock: socket.socket) -> None:
        self.run = run
        self.socket = MessageSocket(sock, self._asked, self._gone)
        self.observer = False
        self.label = ""
        self.visible: dict[str, str] = {}
        self.env: dict[str, str] = {}
        self.pull: Pull = "missing"
        self.offline = False
        self.lock = ""
        self.starts: list[float] = []
        self.pool_hits = 0
        self.peak_bytes = 0
        self.leaving = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._operations: dict[str, Callable[[wire.Message], Awaitable[_Answer]]] = {
            name: getattr(self, f"_{name}")
            for name in (
                *("hello", "create", "attach", "close", "stats", "update", "pause", "resume", "kill", "death", "logs"),
                *("wait_main", "diff", "snapshot", "reset", "prewarm", "list", "figures", "settle", "leave"),
                *("image", "image_build", "image_prune"),
            )
        }

    def _asked(self, message: wire.Message, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)  # no request brings any
        task = asyncio.get_running_loop().create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: wire.Message) -> None:
        key = message.get("id")
        operation = self._operations.get(str(message.get("op")))
        try:
            if operation is None:
                raise SandboxError(f"the service knows no operation {message.get('op')!r}")
            with self.run.factory.quiet.foreground() if message["op"] in _IN_FRONT else nullcontext():
                answer, fds = await operation(message)
        except (SandboxError, OSError) as error:
            self.socket.send({"id": key, "error": error_as_json(error)})
            return
        except Exception as error:  # noqa: BLE001 - nonsense, or a fault of ours: said to this client, and all others go on
            _log.exception("%r cannot be answered", message.get("op"))
            hint = "see service.log in the folder of the run; with a request that makes sense, please report it"
            nonsense = SandboxError(f"the service cannot answer {message.get('op')!r}: {error!r}", hint=hint)
            self.socket.send({"id": key, "error": error_as_json(nonsense)})
            return
        self.socket.send({"id": key, "ok": answer}, fds)
        for fd in fds:
            os.close(fd)

    def _gone(self) -> None:
        for box in self._owned():
            box.end(Death(reason="closed"))
        self.run.client_gone(self)

    def _owned(self) -> list[Box]:
        return [box for box in self.run.factory.boxes.values() if box.owner is self]

    def _box(self, message: wire.Message) -> Box:
        name = message["sandbox"]
        for box in self.run.known(name):
            return box
        raise SandboxError(f"no sandbox {name!r} in this run", hint="`lxsandbox ps` lists them")

    async def _hello(self, message: wire.Message) -> _Answer:
        self.observer = bool(message.get("observer"))
        self.label = str(message.get("label", ""))
        self.visible = shown_folders(message.get("visible") or {})
        self.env = check_env(message.get("env") or {})
        self.pull = message.get("pull") or "missing"
        self.offline = bool(message.get("offline"))
        self.lock = str(message.get("lock") or "")
        run = self.run
        if not self.observer:
            run.factory.keep_blanks()
        missing = [f"{name}: {why}" for name, why in run.factory.tree.lacks.items()]
        if run.factory.mapping.lack:
            missing.append(f"ids: {run.factory.mapping.lack}")
        return {
            "run": run.name,
            "cgroups": run.factory.tree.kind,
            "mapping": run.factory.mapping.kind,
            "pid": os.getpid(),
            "missing": missing,
        }, []

    async def _create(self, message: wire.Message) -> _Answer:
        started = time.perf_counter()
        spec = SandboxSpec.from_json(message["spec"])
        limits, unheld = limits_of(spec, message.get("required") or (), self.run.factory.tree.lacks)
        box, channel, pooled = await self.run.create(spec, limits, self)
        seconds = time.perf_counter() - started
        if self.socket.closed:
            channel.close()
            box.end(Death(reason="closed"))
            return {}, []
        self.starts.append(seconds)
        self.pool_hits += pooled
        return _introduce(box) | {"pooled": pooled, "start_seconds": seconds, "unheld": unheld}, [channel.detach()]

    async def _reset(self, message: wire.Message) -> _Answer:
        started = time.perf_counter()
        old = self._alive(message)
        box, channel, pooled = await self.run.reset(old)
        self.peak_bytes = max(self.peak_bytes, old.peak_bytes or 0)
        return _introduce(box) | {"pooled": pooled, "start_seconds": time.perf_counter() - started}, [channel.detach()]

    async def _attach(self, message: wire.Message) -> _Answer:
        box = self._box(message)
        ours, theirs = wire.pair()
        with theirs:
            try:
                await box.ask("channel", (theirs.fileno(),))
            except BaseException:
                ours.close()
                raise
        return _introduce(box) | {"spec": box.spec.as_json(), "state": box.state}, [ours.detach()]

    async def _close(self, message: wire.Message) -> _Answer:
        box = self._box(message)
        death = await self._end(box, Death(reason="closed"))
        return {"stats": box.stats(), "death": death.as_json()}, []

    async def _end(self, box: Box, death: Death) -> Death:
        box.end(death)
        box.count_last()
        ended = await box.wait_ended(_SETTLE_SECONDS)
        self.peak_bytes = max(self.peak_bytes, box.peak_bytes or 0)
        return ended

    async def _kill(self, message: wire.Message) -> _Answer:
        death = await self._end(self._box(message), Death(reason="killed"))
        return {"death": death.as_json()}, []

    async def _death(self, message: wire.Message) -> _Answer:
        box = self._box(message)
        return {"death": (await box.wait_ended(_SETTLE_SECONDS)).as_json()}, []

    async def _wait_main(self, message: wire.Message) -> _Answer:
        return {"ended": await self._box(message).main_ended(message.get("seconds"))}, []

    async def _stats(self, message: wire.Message) -> _Answer:
        return {"stats": self._box(message).stats()}, []

    def _alive(self, message: wire.Message) -> Box:
        box = self._box(message)
        if box.ended.done():
            raise SandboxDied(box.name, box.ended.result())
        return box

    async def _update(self, message: wire.Message) -> _Answer:
        box = self._alive(message)
        changed = SandboxSpec.from_fields({**box.spec.as_json(), "mounts": box.spec.mounts, **message["limits"]})
        limits, _ = limits_of(changed, list(message["limits"]), self.run.factory.tree.lacks)
        box.cgroup.update(limits)
        box.spec, box.limits = changed, limits
        return {}, []

    async def _pause(self, message: wire.Message) -> _Answer:
        box = self._alive(message)
        self._need_freezer("pause")
        async with box.moving:
            if box.state == "running":
                await box.hold_uppers()  # for a diff of it while it is paused
                await box.freeze()
                if not box.ended.done():
                    box.state = "paused"
        return {}, []

    async def _resume(self, message: wire.Message) -> _Answer:
        box = self._alive(message)
        self._need_freezer("resume")
        async with box.moving:
            if box.state == "paused":
                box.thaw()
                box.state = "running"
        return {}, []

    async def _diff(self, message: wire.Message) -> _Answer:
        box = self._alive(message)
        sink = os.memfd_create("lxsandbox-changes")
        try:
            await self.run.factory.list_changes(box, sink)
        except BaseException:
            os.close(sink)
            raise
        return {}, [sink]

    def _need_freezer(self, verb: str) -> None:
        why = self.run.factory.tree.lacks.get("freezer")
        if why is not None:
            raise HostUnsupported(f"{verb}() cannot be done: {why}", capability="cgroup-freezer")

    async def _logs(self, message: wire.Message) -> _Answer:
        box = self._box(message)
        return {"text": box.log.text() if box.log is not None else ""}, []

    async def _prewarm(self, message: wire.Message) -> _Answer:
        spec = SandboxSpec.from_json(message["spec"])
        limits, _ = limits_of(spec, message.get("required") or (), self.run.factory.tree.lacks)
        await self.run.prewarm(spec, limits, self, int(message["count"]))
        if message.get("wait"):
            await self.run.pool.filled()
        return {}, []

    async def _list(self, _: wire.Message) -> _Answer:
        boxes = [box for box in self.run.factory.boxes.values() if box.owner is not None]
        owners = {box.id: getattr(box.owner, "label", "") for box in boxes}
        stock = [box for box in self.run.factory.boxes.values() if box.owner is None and not box.ending]
        return {
            "sandboxes": [{**box.describe(), "owner": owners[box.id]} for box in boxes],
            "stock": [{"id": box.id, "pid": box.pid, "state": box.state} for box in stock],
        }, []

    async def _figures(self, _: wire.Message) -> _Answer:
        peaks = [self.peak_bytes, *(box.stats()["memory_peak_bytes"] or 0 for box in self._owned() if box.state != "exited")]
        figures = {
            "sandboxes": len(self.starts),
            "start_seconds": self.starts,
            "pool_hits": self.pool_hits,
            "memory_peak_bytes": max(peaks),
        }
        return figures, []

    async def _image(self, message: wire.Message) -> _Answer:
        text = str(message["image"])
        found = await self.run.images.find(text, pull=self.pull, offline=self.offline, lock=self.lock)
        held = found.held
        described = Image(reference=text) if held is None else held.config.described(text, held.descriptor.digest)
        return asdict(described), []

    async def _snapshot(self, message: wire.Message) -> _Answer:
        name = message.get("name")
        image = await self.run.snapshots.take(self._alive(message), None if name is None else str(name))
        return asdict(image), []

    async def _image_prune(self, message: wire.Message) -> _Answer:
        pruned = await self.run.images.prune(every=bool(message.get("all")), at_most_bytes=message.get("at_most_bytes"))
        return asdict(pruned), []

    async def _image_build(self, message: wire.Message) -> _Answer:
        """The pipe through which is told how it goes on, and how it ends: see `telling`."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        task = asyncio.get_running_loop().create_task(self._build(message, Telling(writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return {}, [reader]

    async def _build(self, message: wire.Message, telling: Telling) -> None:
        fresh = bool(message.get("fresh"))
        pull: Pull = message.get("pull") or "missing"
        with closing(telling):
            try:
                digest = await self.run.images.build(message["reference"], message["name"], telling, fresh=fresh, pull=pull)
                last: dict[str, Any] = {"done": digest}
            except (SandboxError, OSError) as error:
                last = {"error": error_as_json(error)}
            with suppress(SandboxError):
                await asyncio.to_thread(telling.tell, **last)

    async def _settle(self, _: wire.Message) -> _Answer:
        await self.run.factory.settle(_SETTLE_SECONDS)
        return {"leaked": leaks.count(self.run.factory)}, []

    async def _leave(self, _: wire.Message) -> _Answer:
        self.leaving = True
        for box in self._owned():
            box.end(Death(reason="closed"))
        last = await self.run.last_words(self)
        await self.run.factory.settle(_SETTLE_SECONDS)
        return {"leaked": leaks.count(self.run.factory), "last": last}, []


def _introduce(box: Box) -> dict[str, Any]:
    hostname = box.spec.hostname or box.name
    return {"sandbox": box.id, "name": box.name, "hostname": hostname, "pid": box.pid, "stop_signal": box.stop_signal}
