"""The life of an init: build, tell the service, wait for the word to go, give up privileges, serve, end."""

import os
import socket

from lxsandbox import wire
from lxsandbox.init.build import become_root, build, settle_process
from lxsandbox.init.confine import confine
from lxsandbox.init.serve import Server, os_error
from lxsandbox.rootfs.apply import StepFailed
from lxsandbox.rootfs.trees import open_trees

TYPE_CHECKING = False  # the spawner loads this module
if TYPE_CHECKING:
    from typing import Any

__all__ = ["run"]


def run(request: "dict[str, Any]", control_fd: int, mapped: int) -> None:
    """Be PID 1 until the service closes the control socket. What fails before that is told to the service."""
    settle_process([control_fd, mapped])
    control = socket.socket(fileno=control_fd)
    try:
        prepared = become_root(request, mapped)
        uppers = _build(control, prepared)
        server = None if uppers is None else _go(control, uppers)
    except StepFailed as failed:
        _tell(control, {"kind": "StepFailed", "message": str(failed), "step": failed.step, "errno": failed.error.errno})
        return
    except OSError as error:
        _tell(control, os_error(error))
        return
    if server is not None:
        server.run()


def _build(control: socket.socket, prepared: int) -> list[tuple[str, int]] | None:
    """Wait for the service's plan, which comes when this process is in its cgroup, and do it; None when none will come.

    Returns the uppers of the root.
    """
    received = wire.receive(control)
    if received is None:
        return None
    plan, (seccomp, *passed) = received
    uppers = build(plan["steps"], passed or open_trees(plan["trees"]), prepared)
    confine(plan["confine"], _read_all(seccomp))
    wire.send(control, {"event": "built"})
    return uppers


def _go(control: socket.socket, uppers: list[tuple[str, int]]) -> Server | None:
    """Wait for the service's word, with what this sandbox shall be; None when there will be none."""
    received = wire.receive(control)
    if received is None:
        return None
    go, fds = received
    log, *channels = fds
    server = Server(control, uppers)
    for fd in channels:
        server.add_channel(fd)
    server.become(go, log)
    return server


def _read_all(fd: int) -> bytes:
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    os.close(fd)
    return data


def _tell(control: socket.socket, error: "dict[str, Any]") -> None:
    try:
        wire.send(control, {"event": "failed", "error": error})
    except OSError:
        pass  # the service has gone, and nobody else wants to know
