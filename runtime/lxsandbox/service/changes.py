"""Looking at what a sandbox has changed: holding it still, and saying where it is to be looked for."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from lxsandbox import wire
from lxsandbox.errors import SandboxDied, SandboxError
from lxsandbox.rootfs.host_image import all_submounts
from lxsandbox.rootfs.trees import open_trees
from lxsandbox.rootfs.uppers import uppers
from lxsandbox.service.box import Box

__all__ = ["mount_points", "packing_request", "standing_still"]

_DEADLINE_SECONDS = 5.0


@asynccontextmanager
async def standing_still(box: Box, *, freezer: bool) -> AsyncGenerator[None]:
    """Nothing in the box runs meanwhile; one that is paused stays so. Without a `freezer` all but init is stopped.

    Raises SandboxDied, SandboxError.
    """
    async with box.moving:
        await box.hold_uppers()
        if box.state == "paused":
            yield
        elif freezer:
            await box.freeze()
            try:
                yield
            finally:
                box.thaw()
        else:
            await box.ask("signal_all", signal=int(signal.SIGSTOP))
            try:
                yield
            finally:
                with contextlib.suppress(SandboxDied):
                    await box.ask("signal_all", signal=int(signal.SIGCONT))


async def mount_points(box: Box) -> list[str]:
    """Where something is mounted in the box's root. Raises SandboxDied."""
    try:
        return _mount_points(box.pid)
    except OSError as error:  # it has just ended
        raise SandboxDied(box.name, await box.wait_ended(_DEADLINE_SECONDS)) from error


def _mount_points(pid: int) -> list[str]:
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return all_submounts(file.read())


def packing_request(
    box: Box, form: str, points: list[str], userns: int | None, opened: ExitStack
) -> tuple[dict[str, Any], list[int]]:
    """What the spawner is asked, and the descriptors that go with it but for the first two. They are closed by `opened`.

    With `userns`, the trees of sandboxes are opened here and their owners shown through it. Raises SandboxError, OSError.
    """
    described = uppers(box.root, box.files, points)
    # Of its own: the box may end, and close its, before the spawner is told.
    fds = [] if userns is None else [os.dup(userns)]
    fds += map(os.dup, box.uppers)
    if userns is not None:
        fds += open_trees([tree for upper in described for tree in upper.lowers], userns)
    for fd in fds:
        opened.callback(os.close, fd)
    if len(fds) + 2 > wire.MAX_FDS:
        raise SandboxError(f"the root of sandbox {box.name} has too many parts to look for changes in: {len(fds)}")
    told = [{"target": upper.target, "lowers": upper.lowers, "made": upper.made, "veiled": upper.veiled} for upper in described]
    return {"op": "pack", "form": form, "enter": userns is not None, "uppers": told}, fds
