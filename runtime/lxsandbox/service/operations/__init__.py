"""All that a client can ask for, by the name that its message has as `op`."""

from __future__ import annotations

from lxsandbox.service.operations import faults, forwards, images, main_commands, networks, of_the_run, readiness, sandboxes
from lxsandbox.service.operations.operation import Operation

__all__ = ["OPERATIONS"]

OPERATIONS: dict[str, Operation] = {
    **sandboxes.OPERATIONS,
    **main_commands.OPERATIONS,
    **readiness.OPERATIONS,
    **networks.OPERATIONS,
    **forwards.OPERATIONS,
    **faults.OPERATIONS,
    **images.OPERATIONS,
    **of_the_run.OPERATIONS,
}
