"""Sandboxes built ahead of need, by shape. Each is handed out once and never comes back."""

from __future__ import annotations

from collections import deque

from lxsandbox import wire
from lxsandbox.errors import Death, SandboxError
from lxsandbox.service.ahead import Ahead
from lxsandbox.service.box import Box
from lxsandbox.service.factory import Factory
from lxsandbox.service.shapes import Shape
from lxsandbox.spec import Limits

__all__ = ["Pool"]

_AHEAD = 2  # ready of each shape that was asked for more than once
_MOST_SHAPES = 16  # kept warm at once; the one that was asked for longest ago goes first


class _Shelf:
    """The ready sandboxes of one shape, how many there should be, and what the last one was told to become."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.limits = Limits()
        self.message: wire.Message = {}
        self.count = 0
        self.ready: deque[Box] = deque()


class Pool:
    """Keeps every shape in use at its count, one build at a time, in the background."""

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._shelves: dict[str, _Shelf] = {}
        self._ahead = Ahead(self._fill, factory.quiet)

    def take(self, shape: Shape) -> Box | None:
        """A ready sandbox of this shape, or None. The place it leaves is filled again once the event loop is idle."""
        shelf = self._shelves.get(shape.key)
        while shelf is not None and shelf.ready:
            box = shelf.ready.popleft()
            self._look()
            if box.state == "parked":
                return box
        return None

    def want(self, shape: Shape, limits: Limits, message: wire.Message, count: int) -> None:
        """Have `count` of this shape ready from now on, built with these limits and told `message` ahead."""
        shelf = self._shelves.pop(shape.key, None) or _Shelf(shape)
        shelf.limits, shelf.message, shelf.count = limits, message, max(shelf.count, count)
        self._shelves[shape.key] = shelf
        while len(self._shelves) > _MOST_SHAPES:
            self._discard(self._shelves.pop(next(iter(self._shelves))))
        self._look()
        self._ahead.start()

    def used(self, shape: Shape, limits: Limits, message: wire.Message) -> None:
        """One of this shape has been handed out, or built on demand: from the second on, others are made ahead."""
        self.want(shape, limits, message, _AHEAD if shape.key in self._shelves else 0)

    async def filled(self) -> None:
        """Wait until all that is wanted is ready, or cannot be made."""
        await self._ahead.finished()
        await self._factory.blanks_filled()

    def count(self, shape: Shape) -> int:
        """How many of this shape are ready."""
        shelf = self._shelves.get(shape.key)
        return len(shelf.ready) if shelf is not None else 0

    async def _fill(self) -> None:
        while (shelf := self._shortest()) is not None and await self._ahead.turn():
            try:
                box = await self._factory.build(shelf.shape, shelf.limits)
            except (SandboxError, OSError):
                shelf.count = 0  # whoever asks next builds it himself, and gets the error
                self._look()
                continue
            if self._ahead.closed or self._shelves.get(shelf.shape.key) is not shelf:
                box.end(Death(reason="closed"))
            else:
                if not shelf.message["main"]:  # a command of its own starts when the sandbox is asked for
                    box.prime(shelf.message)
                shelf.ready.append(box)
                self._look()

    def _look(self) -> None:
        self._ahead.press(any(shelf.count and not shelf.ready for shelf in self._shelves.values()))

    def _shortest(self) -> _Shelf | None:
        lacking = [shelf for shelf in self._shelves.values() if len(shelf.ready) < shelf.count]
        return min(lacking, key=lambda shelf: len(shelf.ready), default=None)

    def _discard(self, shelf: _Shelf) -> None:
        for box in shelf.ready:
            box.end(Death(reason="closed"))
        shelf.ready.clear()

    async def close(self) -> None:
        """End all that is ready, and build no more."""
        await self._ahead.close()
        for shelf in self._shelves.values():
            self._discard(shelf)
        await self._factory.stop()
