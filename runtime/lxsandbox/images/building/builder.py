"""Carrying out a plan: what is stored already is taken, and each step after it is done in a workshop and stored."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Protocol

from lxsandbox.errors import ImageError, SandboxError
from lxsandbox.images.archives.layers import Layer
from lxsandbox.images.archives.manifests import load_image, store_image
from lxsandbox.images.blobs import Blobs
from lxsandbox.images.building.copying import Copy, carry_out, find_sources, make_parents
from lxsandbox.images.building.planning import Folder, Plan, Start, Step
from lxsandbox.images.building.workshop import Base, Command, Files, Workshop, Workshops
from lxsandbox.images.config import BASE_LABEL, HistoryEntry, ImageConfig
from lxsandbox.images.documents import Descriptor
from lxsandbox.images.registry.progress import Progress

__all__ = ["Builder", "Kept"]

_LAST_LINES = 20
_LAST_CHARACTERS = 16 << 10


class Kept(Protocol):
    """The results of steps, by their keys."""

    def step(self, key: str) -> Descriptor | None:
        """The image that a step made once, all of which is in the store, and held there."""
        ...

    def keep(self, key: str, descriptor: Descriptor) -> None:
        """Store what a step has made."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tree:
    """The files after some steps: what a workshop stands over, the layers, and of each step whether it made one."""

    base: Base
    layers: tuple[Layer, ...] = ()
    made: tuple[bool, ...] = ()


@dataclass(kw_only=True, slots=True)
class Builder:
    """Carries out plans. `files` is the folder that is built from.

    With `fresh`, no result of earlier builds is taken; `offline`, no command is run, since it would have a network.
    """

    files: Files
    blobs: Blobs
    kept: Kept
    workshops: Workshops | None
    progress: Progress
    fresh: bool = False
    offline: bool = False
    _done: dict[str, _Tree] = field(default_factory=dict[str, _Tree])

    def build(self, plan: Plan) -> Descriptor:
        """The image that the plan is of, all of it in the store. Raises ImageError, SandboxError."""
        tree = self._tree(plan)
        flags = iter(tree.made)
        own = [HistoryEntry(created_by=text, empty_layer=not (is_step and next(flags))) for text, is_step in plan.told]
        return self._stored(plan.config, tree, (*plan.start.config.whole_history(), *own))

    def _stored(self, config: ImageConfig, tree: _Tree, history: Sequence[HistoryEntry]) -> Descriptor:
        whole = replace(config, diff_ids=tuple(layer.diff_id for layer in tree.layers), history=tuple(history))
        return store_image(whole.as_bytes(), whole.platform, tree.layers, self.blobs)

    def _tree(self, plan: Plan | Start) -> _Tree:
        if isinstance(plan, Start):
            return self._beginning(plan)
        count, tree = self._latest(plan)
        for step in plan.steps[:count]:
            self.progress.step(f"{_shown(step)} (stored)")
        for step in plan.steps[count:]:
            self.progress.step(_shown(step))
            tree = self._done[step.key] = self._carried_out(plan, step, tree)
        return tree

    def _beginning(self, start: Start) -> _Tree:
        if start.image is None:
            return _Tree(base=Base(host=start.host))
        image = load_image(start.image, self.blobs)
        layers = zip(image.manifest.layers, image.config.diff_ids, strict=True)
        return _Tree(
            base=Base(image=start.image), layers=tuple(Layer(descriptor=layer, diff_id=diff_id) for layer, diff_id in layers)
        )

    def _latest(self, plan: Plan) -> tuple[int, _Tree]:
        """How many steps are done already, and what they have made."""
        for count in range(len(plan.steps), 0, -1):
            key = plan.steps[count - 1].key
            if key in self._done:
                return count, self._done[key]
            found = None if self.fresh else self.kept.step(key)
            if found is not None:
                self._done[key] = self._after(found, count)
                return count, self._done[key]
        return 0, self._beginning(plan.start)

    def _after(self, found: Descriptor, steps: int) -> _Tree:
        image = load_image(found, self.blobs)
        layers = zip(image.manifest.layers, image.config.diff_ids, strict=True)
        return _Tree(
            base=Base(image=found),
            layers=tuple(Layer(descriptor=layer, diff_id=diff_id) for layer, diff_id in layers),
            made=tuple(not entry.empty_layer for entry in image.config.history[-steps:]),
        )

    def _carried_out(self, plan: Plan, step: Step, tree: _Tree) -> _Tree:
        with _located(step):
            if self.workshops is None:
                hint = "`lxsandbox image build -t NAME DIR` does, and then image NAME is there"
                raise ImageError("nothing here carries out steps of a build", hint=hint)
            if self.offline and isinstance(step.work, Command):
                hint = "build it before, with the network there: its result is stored then"
                raise ImageError("this run is offline, and a command that is run may use the network", hint=hint)
            with self.workshops.open(tree.base, self.blobs, network=isinstance(step.work, Command)) as shop:
                self._do(step, shop, self.workshops)
                layer = shop.layer()
        grown = replace(tree, layers=(*tree.layers, *([layer] if layer else [])), made=(*tree.made, layer is not None))
        told = [text for text, is_step in plan.told if is_step]
        entries = [HistoryEntry(created_by=text, empty_layer=not made) for text, made in zip(told, grown.made, strict=False)]
        labels = {name: text for name, text in plan.start.config.labels.items() if name == BASE_LABEL}
        config = ImageConfig(platform=plan.config.platform, labels=labels)
        descriptor = self._stored(config, grown, (*plan.start.config.whole_history(), *entries))
        self.kept.keep(step.key, descriptor)
        return replace(grown, base=Base(image=descriptor))

    def _do(self, step: Step, shop: Workshop, workshops: Workshops) -> None:
        match step.work:
            case Command() as command:
                self._run(command, shop)
            case Copy() as copy:
                with ExitStack() as opened:
                    files, sources = self._sources(step, copy, workshops, opened)
                    carry_out(copy, files, sources, shop, step.instruction.where)
            case Folder() as folder:
                if shop.look(folder.path, follow=True) is None:
                    make_parents(shop, folder.path + "/", shop.account(folder.owner))

    def _sources(self, step: Step, copy: Copy, workshops: Workshops, opened: ExitStack) -> tuple[Files, Sequence[str]]:
        if step.source is None:
            return self.files, copy.sources
        files = opened.enter_context(workshops.open(self._tree(step.source).base, self.blobs, network=False))
        return files, find_sources(files, copy.sources, step.instruction.where)

    def _run(self, command: Command, shop: Workshop) -> None:
        make_parents(shop, command.cwd.rstrip("/") + "/", (0, 0))
        tail = _Tail(self.progress)
        code = shop.run(command, tail.take)
        tail.finish()
        if code != 0:
            how = f"it exited with code {code}" if code > 0 else f"it was killed by signal {-code}"
            raise ImageError(f"{how}; {tail.said()}", hint="see what it printed, and run the build again: it goes on from there")


class _Tail:
    """Passes on what a command prints, and remembers the end of it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""

    def take(self, block: bytes) -> None:
        self._add(self._decoder.decode(block))

    def finish(self) -> None:
        self._add(self._decoder.decode(b"", final=True))

    def _add(self, text: str) -> None:
        if text:
            self._progress.output(text)
            self._text = (self._text + text)[-_LAST_CHARACTERS:]

    def said(self) -> str:
        lines = self._text.strip().splitlines()[-_LAST_LINES:]
        return "the end of what it printed:\n" + "\n".join(lines) if lines else "it printed nothing"


@contextlib.contextmanager
def _located(step: Step) -> Generator[None]:
    """Says of what goes wrong which instruction it was."""
    where = step.instruction.where
    try:
        yield
    except SandboxError as error:
        if error.message.startswith(f"{where.file}:"):
            raise  # it says which, perhaps of another stage
        message = f"{where.file}:{where.line}: {step.instruction.shown}: {error.message}"
        raise ImageError(message, hint=error.hint) from error
    except OSError as error:
        raise ImageError(f"{where.file}:{where.line}: {step.instruction.shown}: {error}") from error


def _shown(step: Step) -> str:
    name = f"{step.stage.name}: " if step.stage.name else ""
    return f"{name}{step.instruction.shown}"
