"""The attempt on a way out: a network namespace with the rules of the hub, and a program that makes its tap in there."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import tempfile
from contextlib import ExitStack

from lxsandbox.host.lack import Lack
from lxsandbox.host.namespaces import enter_user_namespace
from lxsandbox.hub.doors import Doors
from lxsandbox.hub.refusal import Refused
from lxsandbox.outlet import DEVICE, NAMES, TAP, Program, complaint_in, found_programs
from lxsandbox.syscalls import clone

__all__ = ["egress"]

_STEP_SECONDS = 0.005
_STEPS = 600  # three seconds


def egress(_scratch: str) -> str:
    """Whether one of the programs that this host has makes a tap, and the kernel takes the rules."""
    programs = found_programs()
    if not programs:
        raise Lack("outlet-missing", f"neither {' nor '.join(NAMES)} is on this host")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise Lack("tun-closed" if os.path.exists(DEVICE) else "tun-missing", f"{DEVICE} cannot be opened")
    complaints: list[str] = []
    for program in programs:
        complaint = _try(program)
        if complaint is None:
            return f"{program.name} made its tap in a network namespace, and nftables took the rules"
        complaints.append(f"{program.name}: {complaint}")
    raise Lack("outlet-refused", "; ".join(complaints))


def _try(program: Program) -> str | None:
    """What kept it from that. Raises Lack for what no other program would change."""
    with ExitStack() as undo:
        told_read, told_write = os.pipe()
        holder = os.fork()
        if holder == 0:
            _hold(told_write)
        os.close(told_write)
        undo.callback(os.close, told_read)
        undo.callback(_end, holder)
        if (refused := _told(told_read)) != "ready":
            raise Lack("nftables-missing", refused or "a network namespace could not be made")
        said = undo.enter_context(tempfile.TemporaryFile())
        process = _start(program, holder, said.fileno())
        undo.callback(process.wait)
        undo.callback(process.kill)
        ended = os.pidfd_open(process.pid)
        undo.callback(os.close, ended)
        ready, _, _ = select.select([told_read, ended], [], [])  # the other one gives up in time
        if told_read in ready and _told(told_read) == "tap":
            return None
        said.seek(0)
        return complaint_in(said.read()) or "it made no tap"


def _start(program: Program, holder: int, said: int) -> subprocess.Popen[bytes]:
    network, user = (os.open(f"/proc/{holder}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("net", "user"))
    lifeline, other = os.pipe2(os.O_CLOEXEC)  # the other end stays open as long as this process lives
    try:
        command = program.command(holder, as_root=os.geteuid() == 0, lifeline=lifeline)
        return subprocess.Popen(command, stdin=network, stdout=user, stderr=said, pass_fds=[lifeline], cwd="/")
    finally:
        for fd in (network, user, lifeline):
            os.close(fd)
        os.set_inheritable(other, False)


def _told(read_end: int) -> str:
    return os.read(read_end, 4096).decode(errors="replace")


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _hold(told: int) -> None:
    """In the fork: be in a network namespace as the hub's is, and say `ready`, then `tap` when there is one."""
    try:
        if os.geteuid() == 0:
            clone.unshare(clone.CLONE_NEWNET)
        else:
            enter_user_namespace(clone.CLONE_NEWNET)
        Doors(TAP)
        os.write(told, b"ready")
        for _ in range(_STEPS):
            if any(name == TAP for _, name in socket.if_nameindex()):
                os.write(told, b"tap")
                signal.pause()
            select.select([], [], [], _STEP_SECONDS)
    except (Lack, Refused, OSError) as error:
        os.write(told, str(error).encode())
    finally:
        os._exit(0)
