"""Images as a client asks the service for them: its working folder is another one, so what is below this one is said in full."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from lxsandbox.image import Image

if TYPE_CHECKING:
    from lxsandbox.sandbox.connection import ServiceConnection
    from lxsandbox.spec import SandboxSpec

__all__ = ["asked", "find_image"]


def asked(spec: SandboxSpec) -> dict[str, Any]:
    """The spec as the service is to have it. Raises ImageError where its image is no reference, or points nowhere."""
    return spec.as_json() | {"image": _anchored(spec.image)}


def find_image(connection: ServiceConnection, reference: str | Image) -> Image:
    """The image, there to the last byte and held by the service until the run ends. Raises ImageError."""
    return Image.from_json(connection.request("image", image=_anchored(str(reference))))


def _anchored(image: str) -> str:
    if image == "host":  # most are: the rest is not loaded for it
        return image
    from lxsandbox.images.references import PARSERS, parse_reference

    known = "/" in image or image.partition(":")[0] in PARSERS
    return str(parse_reference(image, base=os.getcwd())) if known else image
