"""From the clone to a finished root: descriptors, signals, ids, loopback; then mounts."""

import os

from lxsandbox.rootfs.apply import Root, apply, enter, prepare
from lxsandbox.syscalls import mounts
from lxsandbox.syscalls.files import close_all_but
from lxsandbox.syscalls.loopback import bring_up_loopback

TYPE_CHECKING = False  # the spawner loads this module
if TYPE_CHECKING:
    from typing import Any

__all__ = ["become_root", "build", "settle_process"]


def settle_process(keep: list[int]) -> None:
    """Let go of all that the clone inherited but the descriptors in `keep`: descriptors, session."""
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    # 0 to 2 stay taken, so that no descriptor passed in later lands there, where dup2 would keep its close-on-exec flag.
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    close_all_but([0, 1, 2, *keep])


def become_root(request: "dict[str, Any]", mapped: int) -> int:
    """Wait until the spawner has mapped the ids, become root of the user namespace, and make what every root has in common.

    Returns the descriptor of the prepared file systems. Raises StepFailed or OSError.
    """
    os.read(mapped, 1)
    os.close(mapped)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    if request["groups"]:
        os.setgroups([])
    mounts.set_propagation_private()
    if request["own_network"]:
        bring_up_loopback()
    return prepare(request["prepared"])


def build(steps: "list[dict[str, Any]]", trees: list[int], prepared: int) -> list[tuple[str, int]]:
    """Make the root and enter it. Returns its uppers, see `Root`. Raises StepFailed or OSError."""
    root: Root = apply(steps, trees, prepared)
    enter(root)
    for fd in {*trees, prepared, root.work, root.top}:
        if fd >= 0:
            os.close(fd)
    return root.uppers
