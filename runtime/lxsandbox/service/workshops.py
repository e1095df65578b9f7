"""Where the steps of a build are carried out: a sandbox for each, over the image so far.

For threads that builds have to themselves: they wait here for what the event loop does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from lxsandbox.errors import Death, ImageError, SandboxDied
from lxsandbox.images.archives.layers import Layer
from lxsandbox.images.building.workshop import Base, Command, Status
from lxsandbox.rootfs.plan import ImageRoot
from lxsandbox.service.init_channel import InitChannel, InitGone
from lxsandbox.service.prepared import Prepared
from lxsandbox.service.shapes import go_message, limits_of, shape_of
from lxsandbox.service.snapshots import NothingChanged, Recording
from lxsandbox.spec import SandboxSpec
from lxsandbox.units import UNLIMITED

if TYPE_CHECKING:
    from lxsandbox.images.blobs import Blobs
    from lxsandbox.images.store import Store
    from lxsandbox.service.box import Box
    from lxsandbox.service.egress import Egress
    from lxsandbox.service.factory import Factory
    from lxsandbox.service.images import Image, Images

__all__ = ["Workshops"]

T = TypeVar("T")
_MOST_PROCESSES = 4096
_SCRIPT = "/dev/shm/lxsandbox-script"  # in memory, and so in no layer
_DEADLINE_SECONDS = 10.0
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class Workshops:
    """See `images.building.Workshops`. The sandboxes are this service's own; `label` is how users see whose they are."""

    label = "build"

    def __init__(self, factory: Factory, egress: Egress, images: Images, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self.factory = factory
        self.egress = egress
        self.images = images
        self.store = store
        self.loop = loop

    @contextlib.contextmanager
    def open(self, base: Base, blobs: Blobs, *, network: bool) -> Generator[Workshop]:
        box, channel = self.wait(self._start(base, network))
        try:
            with contextlib.closing(InitChannel(channel)) as init:
                yield Workshop(self, box, init, blobs)
        finally:
            self.loop.call_soon_threadsafe(box.end, Death(reason="closed"))
            if box.made is not None and box.made.image.held is not None:
                box.made.image.held.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Have the event loop do it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def _start(self, base: Base, network: bool) -> tuple[Box, socket.socket]:
        image = await self._image(base)
        # Without an outlet it is the host's network, loopback too: better than a build that works nowhere.
        way_out = network and await self.egress.is_possible()
        spec = SandboxSpec(
            image="build:",
            network="host" if network and not way_out else "isolated",
            egress=way_out,
            memory=UNLIMITED,
            disk=UNLIMITED,
            pids=_MOST_PROCESSES,
            user="0",
        )
        limits, _ = limits_of(spec, (), self.factory.tree.lacks)
        shape = shape_of(spec, image.root, self.factory.facts, {})
        made = Prepared(image=image, shape=shape, spec=spec, message=go_message(spec, shape.facts, {}))
        box = await self.factory.build(shape, limits)
        try:
            box.owner = self
            await self.egress.join(box, spec)
            box.start(made)
            await box.started()
        except BaseException:
            box.end(Death(reason="failed"))
            raise
        return box, box.hand_over()

    async def _image(self, base: Base) -> Image:
        from lxsandbox.service.images import HOST, Image

        if base.image is not None:
            return await self.images.stored(base.image)
        return HOST if base.host else Image(ImageRoot(layers=(self.images.nothing,)))


class Workshop:
    """See `images.building.workshop.Workshop`."""

    def __init__(self, shops: Workshops, box: Box, init: InitChannel, blobs: Blobs) -> None:
        self._shops = shops
        self._box = box
        self._init = init
        self._blobs = blobs

    def _ask(self, op: str, **fields: Any) -> dict[str, Any]:
        with self._told_of_death():
            return self._init.ask(op, **fields)[0]

    def _ask_fd(self, op: str, **fields: Any) -> int:
        with self._told_of_death():
            return self._init.ask_fd(op, **fields)

    @contextlib.contextmanager
    def _told_of_death(self) -> Generator[None]:
        try:
            yield
        except InitGone:
            death = self._shops.wait(self._box.wait_ended(_DEADLINE_SECONDS))
            raise SandboxDied(self._box.name, death) from None

    def look(self, path: str, *, follow: bool = False) -> Status | None:
        try:
            found = self._ask("stat", path=path, follow=follow)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Status(**{name: found[name] for name in ("mode", "size", "uid", "gid", "mtime_ns")})

    def names(self, path: str) -> list[str]:
        return [name for name, _ in self._ask("list", path=path)["names"]]

    def link(self, path: str) -> str:
        target: str = self._ask("readlink", path=path)["target"]
        return target

    def open(self, path: str) -> int:
        return self._ask_fd("open", path=path, flags=os.O_RDONLY, mode=0)

    def run(self, command: Command, output: Callable[[bytes], None]) -> int:
        args = list(command.args)
        if not args:
            args = [_SCRIPT]
            with open(self.make_file(_SCRIPT, 0o755), "w", encoding="utf-8", errors="surrogateescape") as script:
                script.write(command.script)
            self.settle(_SCRIPT, (0, 0), 0o755)
        with self._told_of_death():
            return self._init.run(output, args=args, env=dict(command.env), cwd=command.cwd, user=command.user)

    def account(self, text: str) -> tuple[int, int]:
        found = self._ask("account", user=text)
        return found["uid"], found["gid"]

    def make_folder(self, path: str, mode: int) -> None:
        self._ask("mkdir", path=path, mode=mode, parents=False, exist_ok=False)

    def make_file(self, path: str, mode: int) -> int:
        return self._ask_fd("open", path=path, flags=_WRITE, mode=mode)

    def make_link(self, path: str, target: str) -> None:
        self._ask("symlink", path=path, target=target)

    def make_name(self, path: str, existing: str) -> None:
        self._ask("link", path=path, target=existing)

    def remove(self, path: str) -> None:
        self._ask("unlink", path=path)

    def settle(self, path: str, owner: tuple[int, int], mode: int | None = None, mtime_ns: int | None = None) -> None:
        self._ask("settle", path=path, owner=owner, mode=mode, mtime_ns=mtime_ns)

    def layer(self) -> Layer | None:
        recording = Recording(self._shops.loop, self._shops.factory, self._box, self._blobs)
        store = self._shops.store
        try:
            store.new_layer(recording.fill, ids=self._shops.images.ids)
        except NothingChanged:
            return None
        except OSError as error:
            raise ImageError(f"what it has changed cannot be stored: {error}", hint=f"make room in {store.folder}") from error
        descriptor = recording.layer()
        return Layer(descriptor=descriptor, diff_id=descriptor.digest)
