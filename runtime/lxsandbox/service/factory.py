"""Building sandboxes and taking them away: the only place that makes groups, scratch folders and clones."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil

from lxsandbox.cgroups import CgroupTree
from lxsandbox.errors import Death, SandboxError
from lxsandbox.rootfs.plan import HostFacts
from lxsandbox.service.box import Box
from lxsandbox.service.failures import explain_clone
from lxsandbox.service.filters import FilterFiles
from lxsandbox.service.identity import Mapping
from lxsandbox.service.shapes import Shape
from lxsandbox.service.spawner_link import SpawnerLink
from lxsandbox.spec import Limits

__all__ = ["Factory"]

_log = logging.getLogger(__name__)
_AT_ONCE = 4  # builds; more only take turns on the same locks of the kernel
_DEADLINE_SECONDS = 10.0


class Factory:
    """Everything that a run's sandboxes are built with, and all of them that have not gone yet."""

    def __init__(self, folder: str, tree: CgroupTree, spawner: SpawnerLink, facts: HostFacts, mapping: Mapping) -> None:
        self.folder = folder
        self.tree = tree
        self.spawner = spawner
        self.facts = facts
        self.mapping = mapping
        self.boxes: dict[str, Box] = {}
        self.stuck: list[Box] = []  # what could not be removed in time, for the leak report
        self._filters = FilterFiles()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._watchers: dict[str, asyncio.Task[None]] = {}

    async def build(self, shape: Shape, limits: Limits) -> Box:
        """A parked sandbox. Raises SandboxError; then nothing of it is left."""
        async with self._turns:
            name = f"lxs-{secrets.token_hex(5)}"
            scratch = self._make_scratch(name) if shape.spec.scratch == "disk" else None
            try:
                cgroup = self.tree.create(name, limits)
            except BaseException:
                if scratch is not None:
                    os.rmdir(scratch)
                raise
            box = Box(name, shape, cgroup, limits, scratch)
            self.boxes[name] = box
            self._watchers[name] = asyncio.get_running_loop().create_task(self._outlive(box))
            self._watchers[name].add_done_callback(lambda _: self._watchers.pop(name))
            try:
                await self._clone(box)
                await box.built()
            except BaseException:
                box.end(Death(reason="failed"))
                raise
            return box

    def _make_scratch(self, name: str) -> str:
        path = f"{self.folder}/scratch/{name}"
        os.makedirs(path, 0o700)
        return path

    async def _clone(self, box: Box) -> None:
        made = box.shape.plan(box.id, box.scratch)
        request = {
            "op": "clone",
            "trees": made.trees,
            "steps": made.steps,
            "map": self.mapping.sandbox_map,
            "groups": not self.mapping.single,
            "own_network": box.shape.own_network,
            "confine": box.shape.confinement(box.id),
        }
        into = [] if box.cgroup.into_fd is None else [box.cgroup.into_fd]
        try:
            answer, (pidfd,) = await self.spawner.ask(
                request, [box.init_end.fileno(), self._filters.descriptor(box.shape.spec), *into]
            )
        except OSError as error:
            raise explain_clone(error, box.shape.spec) from error
        box.cloned(answer["pid"], pidfd)
        # The kernel may take 20 ms over the first move after a while (an RCU grace period): init builds its root meanwhile.
        await asyncio.to_thread(box.cgroup.attach, box.pid)

    async def _outlive(self, box: Box) -> None:
        """Wait for the end of a sandbox, and remove what it leaves: its group and its scratch folder."""
        await asyncio.shield(box.ended)
        try:
            await asyncio.to_thread(box.cgroup.remove, deadline_seconds=_DEADLINE_SECONDS)
            if box.scratch is not None:
                await self.remove_tree(box.scratch)
        except (SandboxError, OSError) as error:
            _log.warning("%s could not be removed: %s", box.id, error)
            self.stuck.append(box)
        finally:
            box.cgroup.close()
            self.boxes.pop(box.id, None)

    async def remove_tree(self, path: str) -> None:
        """Remove a folder that sandboxes wrote to. Raises OSError."""
        if not self.mapping.spawner_uids:
            await asyncio.to_thread(shutil.rmtree, path)
        elif not await self._child_succeeds({"op": "remove", "path": path}, []):
            raise OSError(f"{path} could not be removed")

    async def unpack(self, stream: int, report: int, path: str) -> bool:
        """Unpack the tar stream behind `stream` into `path` with the ids of the run's mapping; False when it failed."""
        return await self._child_succeeds({"op": "unpack", "path": path}, [stream, report])

    async def _child_succeeds(self, request: dict[str, str], fds: list[int]) -> bool:
        _, (pidfd,) = await self.spawner.ask(request, fds)
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        loop.add_reader(pidfd, _set_done, ended)
        try:
            await ended
        finally:
            loop.remove_reader(pidfd)
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)  # noqa: ASYNC222 - it has ended
        os.close(pidfd)
        return result is not None and result.si_code == os.CLD_EXITED and result.si_status == 0

    def close(self) -> None:
        """Close what all sandboxes shared."""
        self._filters.close()

    def stuck_processes(self) -> int:
        """How many processes are left in the groups that could not be removed."""
        return sum(len(box.cgroup.members()) for box in self.stuck)

    async def settle(self, deadline_seconds: float) -> None:
        """Wait until all that has ended is gone too, but not for ever."""
        leaving = [self._watchers[name] for name, box in self.boxes.items() if box.ending and name in self._watchers]
        if leaving:
            await asyncio.wait(leaving, timeout=deadline_seconds)


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
