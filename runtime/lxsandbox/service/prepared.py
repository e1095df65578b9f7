"""All that one sandbox is made by, worked out before anything is made."""

from __future__ import annotations

from dataclasses import dataclass

from lxsandbox import wire
from lxsandbox.service.images import Image
from lxsandbox.service.shapes import Shape
from lxsandbox.spec import SandboxSpec

__all__ = ["Prepared"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The image, the shape, the spec with all that its image says, and what init is told when it may go."""

    image: Image
    shape: Shape
    spec: SandboxSpec
    message: wire.Message
