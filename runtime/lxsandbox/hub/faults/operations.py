"""What the service can ask of faults. What does it is loaded with the first fault: a run without one does not pay for it."""

from lxsandbox.hub.refusal import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxsandbox.hub.faults.registry import Faults
    from lxsandbox.hub.members import Network
    from lxsandbox.hub.serve import Hub

__all__ = ["OPERATIONS"]


def _faults(hub: "Hub") -> "Faults":
    if hub.faults is None:
        from lxsandbox.hub.faults.registry import Faults

        hub.faults = Faults(hub)
    return hub.faults


def _network(hub: "Hub", request: "dict[str, Any]") -> "Network":
    """Raises Refused: it may have been closed while this was on its way."""
    network = hub.networks.get(request["network"])
    if network is None:
        raise Refused("SandboxError", "the network has been closed")
    return network


def partition(hub: "Hub", request: "dict[str, Any]", _: list[int]) -> "dict[str, Any]":
    """Nothing goes from the sandboxes `a` to `b` of a network, nor back unless `one_way`."""
    network = _network(hub, request)
    return {"fault": _faults(hub).partition(network, request["a"], request["b"], one_way=request["one_way"])}


def isolate(hub: "Hub", request: "dict[str, Any]", _: list[int]) -> "dict[str, Any]":
    """Nothing goes from or to the sandboxes `a`."""
    return {"fault": _faults(hub).isolate(_network(hub, request), request["a"])}


def shape(hub: "Hub", request: "dict[str, Any]", _: list[int]) -> "dict[str, Any]":
    """The line of sandbox `a`, or its link to `peer`, is to lose packets, be slow, and so on, in `directions`."""
    network = _network(hub, request)
    made = _faults(hub).shape(network, request["a"], request["peer"], request["directions"], request["values"])
    return {"fault": made}


def heal(hub: "Hub", request: "dict[str, Any]", _: list[int]) -> "dict[str, Any]":
    """Take back one fault, or with None all of a network."""
    network = hub.networks.get(request["network"])
    if network is not None and hub.faults is not None:
        hub.faults.heal(network, request["fault"])
    return {}


def taken_over(hub: "Hub", request: "dict[str, Any]", _: list[int]) -> "dict[str, Any]":
    """The sandbox `new` has come to be where `old` was: faults of its line stay."""
    if hub.faults is not None:
        hub.faults.taken_over(request["old"], request["new"])
    return {}


def listed(hub: "Hub", request: "dict[str, Any]", _: list[int]) -> "dict[str, Any]":
    """The faults of a network, and what they have done."""
    network = _network(hub, request)
    return {"faults": hub.faults.listed(network) if hub.faults is not None else []}


OPERATIONS = {
    "partition": partition,
    "isolate": isolate,
    "shape": shape,
    "heal": heal,
    "taken_over": taken_over,
    "faults": listed,
}
