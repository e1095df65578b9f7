"""Building sandboxes and taking them away: the only place that makes groups, scratch folders and clones."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import signal
from collections.abc import Callable, Sequence
from typing import Any

from lxsandbox.cgroups import CgroupTree
from lxsandbox.errors import Death, ImageError, SandboxDied, SandboxError
from lxsandbox.rootfs.plan import HostFacts, prepared_steps
from lxsandbox.service.blanks import Blanks
from lxsandbox.service.box import Box
from lxsandbox.service.changes import mount_points, packing_request, standing_still
from lxsandbox.service.failures import explain_clone
from lxsandbox.service.filters import FilterFiles
from lxsandbox.service.identity import Mapping
from lxsandbox.service.quiet import Quiet
from lxsandbox.service.shapes import Shape
from lxsandbox.service.spawner_link import SpawnerDied, SpawnerLink
from lxsandbox.spec import Limits

__all__ = ["Factory"]

_log = logging.getLogger(__name__)
_AT_ONCE = 4  # builds; more only take turns on the same locks of the kernel
_DEADLINE_SECONDS = 10.0
_PACKING_SECONDS = 300.0
_SPAWNERS = 3  # asked one after another, where each dies over the request


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
        self.quiet = Quiet()
        self._prepared = prepared_steps(facts)
        self._filters = FilterFiles()
        self._blanks = Blanks(self.blank, self.quiet)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._watchers: dict[str, asyncio.Task[None]] = {}

    async def build(self, shape: Shape, limits: Limits, then: Callable[[Box], None] | None = None) -> Box:
        """A parked sandbox; `then` is called as soon as init has been told to build, and may tell it more.

        Raises SandboxError; then nothing of it is left.
        """
        async with self._turns:
            box = self._blanks.take(shape.own_network) or await self.blank(shape.own_network)
            try:
                box.cgroup.update(limits)
                box.limits = limits
                if shape.spec.scratch == "disk":
                    box.scratch = f"{self.folder}/scratch/{box.id}"
                    os.makedirs(box.scratch, 0o700)
                box.plan(shape, self._filters.descriptor(shape.spec), self.spawner.userns)
                if then is not None:
                    then(box)
                await box.built()
            except OSError as error:
                box.end(Death(reason="failed"))
                raise explain_clone(error, shape.spec) from error
            except BaseException:
                box.end(Death(reason="failed"))
                raise
            return box

    async def blank(self, own_network: bool) -> Box:
        """An init in namespaces and a group of its own, which no image or spec has touched. Raises SandboxError."""
        for _ in range(_SPAWNERS - 1):
            # One that died has others after it. An init that it has made and not told of ends with the socket of its box.
            with contextlib.suppress(SpawnerDied):
                return await self._blank(own_network)
        return await self._blank(own_network)

    async def _blank(self, own_network: bool) -> Box:
        name = f"lxs-{secrets.token_hex(5)}"
        box = Box(name, self.tree.create(name, Limits(swap_bytes=None)))
        self.boxes[name] = box
        self._watchers[name] = asyncio.get_running_loop().create_task(self._outlive(box))
        self._watchers[name].add_done_callback(lambda _: self._watchers.pop(name))
        try:
            await self._clone(box, own_network)
        except OSError as error:
            box.end(Death(reason="failed"))
            raise explain_clone(error, box.spec) from error
        except BaseException:
            box.end(Death(reason="failed"))
            raise
        return box

    async def _clone(self, box: Box, own_network: bool) -> None:
        request = {
            "op": "clone",
            "map": self.mapping.sandbox_map,
            "groups": not self.mapping.single,
            "own_network": own_network,
            "prepared": self._prepared if own_network else [],
        }
        into = [] if box.cgroup.into_fd is None else [box.cgroup.into_fd]
        answer, (pidfd,) = await self.spawner.ask(request, [box.init_end.fileno(), *into])
        box.cloned(answer["pid"], pidfd)
        # The kernel may take 20 ms over the first move after a while (an RCU grace period).
        await asyncio.to_thread(box.cgroup.attach, box.pid)

    async def blanks_filled(self) -> None:
        """Wait until no blank one is missing."""
        await self._blanks.filled()

    def keep_blanks(self) -> None:
        """From now on, keep blank ones ready for whatever shape comes next."""
        self._blanks.refill()

    async def _outlive(self, box: Box) -> None:
        """Wait for the end of a sandbox, and remove what it leaves: its group and its scratch folder."""
        await asyncio.shield(box.ended)
        await self.quiet.gap()  # whoever waited for its end is told first
        box.let_go()
        try:
            await asyncio.to_thread(_remove, box)
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

    async def unpack(self, stream: int, path: str, *, form: str = "root") -> str | None:
        """Unpack the tar stream behind `stream` into `path` with the ids of the run's mapping.

        `form` is `root`, or `layer` for an archive with whiteouts: see `images.unpack`. None when it is done, else what went
        wrong, as far as is known.
        """
        return await self._told({"op": "unpack", "path": path, "form": form}, [stream])

    async def inherit(self, layers: Sequence[str], path: str) -> str | None:
        """Make in `path` the folders that some of `layers` (uppermost first) imply and lower ones have: see `images.unpack`.

        None when it is done, else what went wrong, as far as is known.
        """
        return await self._told({"op": "inherit", "layers": list(layers), "path": path}, [])

    async def pack(self, box: Box, sink: int) -> None:
        """Write what has changed in the box's root to the descriptor `sink`, as the tar archive of an OCI layer.

        It stands still meanwhile. Raises ImageError for what no layer can hold, SandboxDied, SandboxError; what was written
        until then is of no use.
        """
        said = await self._write_changes(box, "layer", sink)
        if said is not None:
            raise ImageError(f"sandbox {box.name} cannot be made into an image: {said or 'its packing was killed'}")

    async def list_changes(self, box: Box, sink: int) -> None:
        """Write what has changed in the box's root to the descriptor `sink`, as `images.pack.write_changes` has it.

        It stands still meanwhile. Raises SandboxDied, SandboxError.
        """
        said = await self._write_changes(box, "changes", sink)
        if said is not None:
            raise SandboxError(f"the changes in sandbox {box.name} cannot be listed: {said or 'what lists them was killed'}")

    async def _write_changes(self, box: Box, form: str, sink: int) -> str | None:
        """None when it is done, else what went wrong, as far as is known."""
        async with standing_still(box, freezer="freezer" not in self.tree.lacks):
            points = await mount_points(box)
            with contextlib.ExitStack() as opened:
                request, fds = packing_request(box, form, points, self.spawner.userns, opened)
                said = await self._told(request, [sink], fds, deadline_seconds=_PACKING_SECONDS)
        if box.ending:
            raise SandboxDied(box.name, await box.wait_ended(_DEADLINE_SECONDS))
        return said

    async def _told(
        self, request: dict[str, Any], first: list[int], rest: Sequence[int] = (), *, deadline_seconds: float | None = None
    ) -> str | None:
        """None when a child of the spawner's has succeeded, else what it said; between its descriptors goes one to say it to."""
        report, report_end = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                done = await self._child_succeeds(request, [*first, report_end, *rest], deadline_seconds)
            finally:
                os.close(report_end)
            return None if done else os.read(report, 4096).decode("utf-8", "replace")
        finally:
            os.close(report)

    async def _child_succeeds(self, request: dict[str, Any], fds: list[int], deadline_seconds: float | None = None) -> bool:
        """Whether a child of the spawner's exits with 0. Raises SandboxError when it has not ended in time; it is killed then."""
        _, (pidfd,) = await self.spawner.ask(request, fds)
        loop = asyncio.get_running_loop()
        succeeded: asyncio.Future[bool] = loop.create_future()
        loop.add_reader(pidfd, _reap, pidfd, succeeded)
        try:
            return await asyncio.wait_for(succeeded, deadline_seconds)
        except TimeoutError:
            raise SandboxError(f"what does {request['op']!r} has not ended in {deadline_seconds:.0f} s") from None
        finally:
            if succeeded.cancelled():  # it runs
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    async def stop(self) -> None:
        """Make no more of anything; blank ones end."""
        await self._blanks.close()

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


def _remove(box: Box) -> None:
    box.let_mounts_go()
    box.cgroup.remove(deadline_seconds=_DEADLINE_SECONDS)


def _reap(pidfd: int, succeeded: asyncio.Future[bool]) -> None:
    """A child has ended."""
    asyncio.get_running_loop().remove_reader(pidfd)
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
    if not succeeded.done():
        succeeded.set_result(result is not None and result.si_code == os.CLD_EXITED and result.si_status == 0)
