"""All faults of a hub: made, proven or taken back, listed, and kept in step with members that come and go."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lxsandbox.hub.faults.canary import Unproven
from lxsandbox.hub.faults.cut import Cut
from lxsandbox.hub.faults.fault import Fault
from lxsandbox.hub.faults.queues import Queue, netem_of, refuse_missing_netem
from lxsandbox.hub.members import Network, Port
from lxsandbox.hub.refusal import Refused
from lxsandbox.netlink.conversation import NETFILTER, ROUTE, Conversation

if TYPE_CHECKING:
    from lxsandbox.hub.serve import Hub

__all__ = ["Faults"]

_NO_NFTABLES = (errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.ENOENT, errno.EAFNOSUPPORT, errno.EINVAL)


class Faults:
    """The hub's, from the first fault on."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._faults: dict[int, Fault] = {}
        self._last = 0
        self._netfilter: Conversation | None = None
        hub.on_left.append(self._left)
        hub.on_ended.append(self._forget)

    def partition(self, network: Network, a: Sequence[str], b: Sequence[str], *, one_way: bool) -> int:
        """Nothing goes from `a` to `b`, nor back unless `one_way`."""
        there = [(start.name, end.name) for start in self._ports(network, a) for end in self._ports(network, b)]
        back = [(end, start) for start, end in there]
        links, whole = (there, back) if one_way else (there + back, [])
        number = self._number()
        cut = Cut(fault=number, links=tuple(links))
        return self._make(self._fault(number, "partition", network, [*a, *b], cut=cut, open_links=tuple(whole)))

    def isolate(self, network: Network, a: Sequence[str]) -> int:
        """Nothing goes from or to `a`, whoever is or will be at the other end."""
        names = tuple(port.name for port in self._ports(network, a))
        number = self._number()
        return self._make(self._fault(number, "isolate", network, a, cut=Cut(fault=number, senders=names, receivers=names)))

    def shape(self, network: Network, a: str, peer: str | None, directions: Sequence[str], values: dict[str, Any]) -> int:
        """The line of `a`, or its link to `peer`, loses packets, is slow, and so on. Raises Refused, and then nothing is done."""
        (port,) = self._ports(network, [a])
        number = self._number()
        wanted = netem_of(values)
        queues = [Queue(self._hub.home, port, direction, wanted) for direction in directions] if wanted != netem_of({}) else []
        if any(queue.kind == "netem" for queue in queues):
            with Conversation(ROUTE) as kernel:
                refuse_missing_netem(kernel)
        self._refuse_second_shape(network, port, peer, directions)
        cut = self._loss(number, network, port, peer, directions, values["loss"]) if values.get("loss") else None
        boxes = [a] if peer is None else [a, peer]
        fault = self._fault(number, "shape", network, boxes, cut=cut, queues=queues)
        fault.shapes = {(a, peer, direction) for direction in directions}
        return self._make(fault)

    def _loss(self, number: int, network: Network, port: Port, peer: str | None, directions: Sequence[str], share: float) -> Cut:
        out, inward = "out" in directions, "in" in directions
        if peer is None:
            return Cut(fault=number, share=share, senders=(port.name,) if out else (), receivers=(port.name,) if inward else ())
        (other,) = self._ports(network, [peer])
        ways = [(port.name, other.name)] * out + [(other.name, port.name)] * inward
        return Cut(fault=number, share=share, links=tuple(ways))

    def _refuse_second_shape(self, network: Network, port: Port, peer: str | None, directions: Sequence[str]) -> None:
        wanted = {(port.member.box, peer, direction) for direction in directions}
        if any(fault.network is network and fault.shapes & wanted for fault in self._faults.values()):
            raise Refused("SpecError", "that link is shaped already", hint="heal that fault first, or give all in one call")

    def heal(self, network: Network, number: int | None) -> None:
        """Take back one fault of a network, or all; and see that canaries arrive. One that is there no more is healed."""
        wanted = [each for each in self._of(network) if number in (None, each.number)]
        for fault in wanted:
            fault.undo(self._kernel())
            del self._faults[fault.number]
        for fault in wanted:
            self._prove_undone(fault)

    def _prove_undone(self, fault: Fault) -> None:
        try:
            fault.prove_undone(self._hub.home, self._slow())
        except Unproven as unproven:
            raise Refused("SandboxError", f"the fault was taken back, and {unproven}") from None
        except OSError as error:
            if error.errno != errno.ENODEV:  # a member that has taken its own interface away is reached by nobody
                raise

    def _forget(self, network: Network) -> None:
        """The network ends: nothing of its faults may stay, and nothing is to be proven."""
        for fault in self._of(network):
            fault.undo(self._kernel())
            del self._faults[fault.number]

    def taken_over(self, old: str, new: str) -> None:
        """The sandbox `new` has taken the place of `old`, and has joined the same networks."""
        member = self._hub.members.get(new)
        for port in member.ports.values() if member is not None else ():
            for fault in self._of(port.network):
                if fault.taken_over(self._kernel(), old, port):
                    self._prove(fault)

    def listed(self, network: Network) -> list[dict[str, Any]]:
        """Each fault of a network, with what it has done on which link."""
        return [
            {"fault": fault.number, "kind": fault.kind, "links": fault.counted(self._kernel())} for fault in self._of(network)
        ]

    def _of(self, network: Network) -> list[Fault]:
        return [fault for fault in self._faults.values() if fault.network is network]

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _ports(self, network: Network, boxes: Iterable[str]) -> list[Port]:
        try:
            return [network.ports[box] for box in boxes]
        except KeyError as missing:
            raise Refused("SandboxError", f"sandbox {missing.args[0]} has left network {network.name}") from None

    def _fault(self, number: int, kind: str, network: Network, boxes: Sequence[str], **more: Any) -> Fault:
        named = {port.name: port.member.box for port in self._ports(network, boxes)}
        return Fault(number=number, kind=kind, network=network, boxes=named, **more)

    def _make(self, fault: Fault) -> int:
        kernel = self._kernel()
        try:
            fault.apply(kernel)
        except OSError as error:
            raise _refusal(fault, error) from error
        self._faults[fault.number] = fault
        self._prove(fault)
        return fault.number

    def _prove(self, fault: Fault) -> None:
        try:
            fault.prove(self._hub.home, self._kernel(), self._slow())
        except Unproven as unproven:
            self._take_back(fault)
            hint = "the fault was taken back; report this, with what `lxsandbox doctor` says of this host"
            raise Refused("SandboxError", f"{fault.kind} does not do what it should: {unproven}", hint=hint) from None
        except OSError as error:
            self._take_back(fault)
            raise _refusal(fault, error) from error
        except BaseException:
            self._take_back(fault)
            raise

    def _take_back(self, fault: Fault) -> None:
        self._faults.pop(fault.number, None)
        fault.undo(self._kernel())

    def _slow(self) -> frozenset[str]:
        """Ports to whose members there is a queue, so that canaries may take long."""
        return frozenset(queue.port.name for fault in self._faults.values() for queue in fault.queues if queue.direction == "in")

    def _left(self, port: Port) -> None:
        for fault in self._of(port.network):
            fault.left(self._kernel(), port)

    def _kernel(self) -> Conversation:
        if self._netfilter is None:
            try:
                self._netfilter = Conversation(NETFILTER)
            except OSError as error:
                raise _no_nftables(error) from error
        return self._netfilter


def _refusal(fault: Fault, error: OSError) -> Exception:
    """What is to be said of a kernel that does not do what a fault is made of."""
    if error.errno == errno.ENOENT and any(queue.kind == "tbf" for queue in fault.queues):
        return Refused(
            "HostUnsupported", "rate= needs tbf, and this kernel has none", hint="run `modprobe sch_tbf`", capability="tbf"
        )
    if error.errno in _NO_NFTABLES:
        return _no_nftables(error)
    hint = "with NET_ADMIN, which it was given, a sandbox can take its own interface away or down"
    return Refused("SandboxError", f"{fault.kind} is not possible: {error.strerror}", hint=hint)


def _no_nftables(error: OSError) -> Exception:
    return Refused(
        "HostUnsupported",
        f"faults need nftables for bridges, and this kernel refuses: {error.strerror}",
        hint="`lxsandbox doctor` says what is missing, and the fix",
        capability="nftables",
    )
