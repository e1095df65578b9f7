"""All that a client can ask for, by the name that its message has as `op`."""

from __future__ import annotations

from lxsandbox.service.operations import faults, images, networks, of_the_run, sandboxes
from lxsandbox.service.operations.operation import Operation

__all__ = ["OPERATIONS"]

OPERATIONS: dict[str, Operation] = {
    **sandboxes.OPERATIONS,
    **images.OPERATIONS,
    **networks.OPERATIONS,
    **faults.OPERATIONS,
    **of_the_run.OPERATIONS,
}
