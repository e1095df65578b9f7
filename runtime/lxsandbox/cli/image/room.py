"""Removing what no name and no run reaches, as root here, and for a plain user by a service: layers have ids of its sandboxes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

from lxsandbox.images.store import Pruned, Store

__all__ = ["make_room", "pruned_as_json"]


def make_room(*, every: bool = False, at_most_bytes: int | None = None) -> Pruned:
    """As `Store.prune`, whose `all` is `every`. Raises ImageError, ServiceLost."""
    if os.geteuid() == 0:
        return Store().prune(all=every, at_most_bytes=at_most_bytes)
    return _asked_of_service(every, at_most_bytes)


def pruned_as_json(pruned: Pruned, names: Sequence[str]) -> dict[str, Any]:
    """What `--json` prints of it; `names` are those that went, as users see them."""
    return {"names": list(names), "blobs": list(pruned.blobs), "layers": list(pruned.layers), "bytes": pruned.bytes}


def _asked_of_service(every: bool, at_most_bytes: int | None) -> Pruned:
    from lxsandbox.cli.interrupts import raised_as_exceptions
    from lxsandbox.errors import ServiceLost
    from lxsandbox.sandbox.connection import ServiceConnection

    with raised_as_exceptions():
        # An observer: no sandbox is made ahead for it.
        connection = ServiceConnection.open(label="image prune", observer=True)
        try:
            answer = connection.request("image_prune", all=every, at_most_bytes=at_most_bytes)
        finally:
            with contextlib.suppress(ServiceLost):
                connection.leave()
    removed = {name: tuple(answer[name]) for name in ("names", "blobs", "layers")}
    return Pruned(**removed, bytes=int(answer["bytes"]))
