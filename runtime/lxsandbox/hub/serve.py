"""The hub's loop: requests of the service, and whatever else its parts watch. It ends with the service's end of the line."""

import os
import select
import socket
import time

from lxsandbox import wire
from lxsandbox.hub import egress, links
from lxsandbox.hub.egress import Egress
from lxsandbox.hub.faults.operations import OPERATIONS as FAULT_OPERATIONS
from lxsandbox.hub.members import Member, Network, Port
from lxsandbox.hub.names import Names
from lxsandbox.hub.refusal import Refused
from lxsandbox.netlink.conversation import ROUTE, Conversation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lxsandbox.hub.faults.registry import Faults

    Operation = Callable[["Hub", dict[str, Any], list[int]], dict[str, Any]]

__all__ = ["Hub", "main"]

# What each part of the hub can be asked for, by the name that the message has as `op`.
OPERATIONS: "dict[str, Operation]" = {**links.OPERATIONS, **FAULT_OPERATIONS, **egress.OPERATIONS}

_FIRST_INDEX = 1 << 16  # of the links made here; see links._plug
_SWEEP_SECONDS = 0.3  # after the last that left


class Hub:
    """All that its parts share. `on_left` is called with each port, and `on_ended` with each network, that is about to go."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.netlink = Conversation(ROUTE)
        self.networks: dict[int, Network] = {}
        self.members: dict[str, Member] = {}
        self.on_left: list[Callable[[Port], None]] = []
        self.on_ended: list[Callable[[Network], None]] = []
        self.names = Names(self)
        self.faults: Faults | None = None  # made with the first
        self.egress: Egress = Egress(self)
        self.names.elsewhere = self.egress.questions.ask
        self._poll = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        self._index = _FIRST_INDEX
        self._sweep_at: float | None = None

    def next_index(self) -> int:
        """An index for a new link, which none here has had."""
        self._index += 1
        return self._index

    def watch(self, fd: int, readable: "Callable[[], None]") -> None:
        """Have `readable` called when there is something to be read from `fd`."""
        self._watched[fd] = readable
        self._poll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """To be called before `fd` is closed."""
        del self._watched[fd]
        self._poll.unregister(fd)

    def forget(self, member: Member) -> None:
        """Close all that is held of a sandbox: its network namespace cannot end before."""
        self.names.end(member)
        self.egress.close(member.box)
        self.members.pop(member.box, None)
        os.close(member.netns)

    def sweep_later(self) -> None:
        """Something has left, and is to be deleted when there is time."""
        self._sweep_at = time.monotonic() + _SWEEP_SECONDS

    def tell(self, event: "dict[str, Any]") -> None:
        """Tell the service what it has not asked for; one that has gone needs no news."""
        try:
            wire.send(self.control, event)
        except OSError:
            pass

    def serve(self) -> None:
        """Until the service closes its end."""
        self._poll.register(self.control, select.EPOLLIN)
        while True:
            for fd, _ in self._poll.poll(self._patience()):
                if fd != self.control.fileno():
                    readable = self._watched.get(fd)
                    if readable is not None:
                        readable()
                elif not self._answer():
                    return
            if self._sweep_at is not None and time.monotonic() >= self._sweep_at:
                self._sweep_at = None
                links.sweep(self)

    def _patience(self) -> float | None:
        return None if self._sweep_at is None else max(0.0, self._sweep_at - time.monotonic())

    def _answer(self) -> bool:
        """Answer one request; False when there is nobody to ask."""
        try:
            received = wire.receive(self.control)
        except OSError:
            return False
        if received is None:
            return False
        request, fds = received
        answer: dict[str, Any] = {"id": request["id"]}
        try:
            answer["ok"] = OPERATIONS[request["op"]](self, request, fds)
        except Refused as refused:
            answer["error"] = {
                "kind": refused.kind, "message": str(refused), "hint": refused.hint, "capability": refused.capability
            }  # fmt: skip
        except OSError as error:
            answer["error"] = {"kind": "OSError", "errno": error.errno, "message": error.strerror or str(error)}
        except Exception as error:  # noqa: BLE001 - a fault of ours in one request must not take all networks down
            answer["error"] = {
                "kind": "SandboxError", "message": f"the hub cannot do {request['op']!r}: {error!r}",
                "hint": "please report it", "capability": "",
            }  # fmt: skip
        finally:
            for fd in fds:
                os.close(fd)
        try:
            wire.send(self.control, answer)
        except OSError:
            return False
        return True


def main(control: int) -> None:
    """Be the hub of the service at the other end of `control`."""
    sock = socket.socket(fileno=control)
    sock.set_inheritable(False)
    _quiet_links()
    _leave_frames_alone()
    hub = Hub(sock)
    try:
        hub.serve()
    finally:
        hub.egress.let_go()


def _quiet_links() -> None:
    """No IPv6 of the hub's own on bridges and ports: it would send and be asked, and take memory for each."""
    try:
        fd = os.open("/proc/sys/net/ipv6/conf/default/disable_ipv6", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return  # no IPv6, or a read-only /proc/sys: then it has link-local addresses that nobody uses
    with os.fdopen(fd, "wb") as file:
        file.write(b"1")


def _leave_frames_alone() -> None:
    """With br_netfilter, frames on a bridge pass the rules for routed packets too: no business of theirs, and slower."""
    for name in ("iptables", "ip6tables", "arptables"):
        try:
            fd = os.open(f"/proc/sys/net/bridge/bridge-nf-call-{name}", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return  # no br_netfilter, or a read-only /proc/sys: then the rules let them pass
        with os.fdopen(fd, "wb") as file:
            file.write(b"0")
