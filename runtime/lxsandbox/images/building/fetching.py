"""`build:PATH`: from a folder with a Containerfile to an image in the store."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from lxsandbox.errors import ImageError
from lxsandbox.images.archives.manifests import load_image
from lxsandbox.images.building.builder import Builder
from lxsandbox.images.building.context import Context
from lxsandbox.images.building.host import host_key
from lxsandbox.images.building.planning import Planner, Start
from lxsandbox.images.building.stages import parse_containerfile
from lxsandbox.images.config import BASE_LABEL, ImageConfig

if TYPE_CHECKING:
    from lxsandbox.images.build_reference import BuildReference
    from lxsandbox.images.documents import Descriptor
    from lxsandbox.images.transports import FetchContext, Shelf

__all__ = ["STEPS", "fetch_build"]

STEPS = "lxsandbox.build"
"""Begins the names that results of steps have in the store."""

_NAMES = ("Containerfile", "Dockerfile")
_LARGEST_BYTES = 1 << 20


def fetch_build(reference: BuildReference, context: FetchContext) -> Descriptor:
    """Build the image; where all steps are stored, nothing is started. Raises ImageError, SandboxError."""
    if context.shelf is None:
        raise ImageError(f"image {reference.familiar()} cannot be built into this place: it has no store of images")
    folder, file = _located(reference)
    with Context(folder) as files:
        containerfile = parse_containerfile(_read(file), file=file, given=reference.arguments, platform=context.platform)
        for name in containerfile.unused_arguments():
            context.progress.step(f"build argument {name} is declared by no ARG, and so of no use")
        planner = Planner(containerfile, files, functools.partial(_start, context, context.shelf, folder))
        plan = planner.plan(containerfile.target(reference.target))
        builder = Builder(
            files=files,
            blobs=context.blobs,
            kept=_Steps(context.shelf),
            workshops=context.workshops,
            progress=context.progress,
            fresh=context.fresh,
            offline=context.offline,
        )
        return builder.build(plan)


class _Steps:
    """The results of steps, as images of the store."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def step(self, key: str) -> Descriptor | None:
        return self._shelf.named(f"{STEPS}/{key}:step")

    def keep(self, key: str, descriptor: Descriptor) -> None:
        self._shelf.name(f"{STEPS}/{key}:step", descriptor)


def _located(reference: BuildReference) -> tuple[str, str]:
    """The folder that is built from, and the Containerfile."""
    is_file = os.path.isfile(reference.path)
    folder = os.path.dirname(reference.path) if is_file else reference.path
    if is_file and not reference.file:
        return folder, reference.path
    if reference.file:
        return folder, reference.file
    for name in _NAMES:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return folder, path
    raise ImageError(f"{folder} has no {' or '.join(_NAMES)}", hint="name the file: build:DIR?file=FILE, or -f FILE")


def _read(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as opened:
            return opened.read(_LARGEST_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{file} cannot be read: {error}") from error


def _start(context: FetchContext, shelf: Shelf, folder: str, text: str) -> Start:
    config = ImageConfig(platform=context.platform)
    if text == "scratch":
        return Start(key="scratch", config=config)
    reference = shelf.parse(text, folder)
    if reference.transport == "host":
        return Start(key=host_key(), config=replace(config, labels={BASE_LABEL: "host"}), host=True)
    image = shelf.image(reference)
    return Start(key=image.digest, config=load_image(image, context.blobs).config, image=image)
