"""Who gets which address and who is refused, with a hub that does as it is told, and without a kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from lxsandbox.errors import Death, SandboxError, SpecError
from lxsandbox.service.addresses import HOSTS, NETWORKS
from lxsandbox.service.box import Box
from lxsandbox.service.networks import Networks
from lxsandbox.service.spawner_link import SpawnerLink
from lxsandbox.spec import SandboxSpec


async def turn() -> None:
    """Let others go first."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_soon(done.set_result, None)
    await done


class Hub:
    """Says yes, and remembers what it was told; `failing` is what it says no to."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.failing = ""

    async def ask(self, op: str, _: object = (), **fields: Any) -> dict[str, Any]:
        self.told.append(op)
        await turn()
        if op == self.failing:
            raise OSError(28, "No space left on device")
        return {"ports": [{"network": port["network"], "ipv6": port["ipv6"]} for port in fields.get("ports", ())]}

    async def ask_living(self, op: str, **fields: Any) -> dict[str, Any]:
        return await self.ask(op, **fields)


class Member:
    """What a network asks of a sandbox; it lives in the network of this test."""

    def __init__(self, name: str) -> None:
        self.id = self.line = self.name = name
        self.pid = "self"
        self.addresses: dict[str, tuple[str, str | None]] = {}
        self.ended: asyncio.Future[Death] = asyncio.get_running_loop().create_future()


def box(name: str) -> Box:
    return cast("Box", Member(name))


def within(test: Callable[[Networks, Hub], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        networks = Networks(cast("SpawnerLink", None))
        hub = Hub()
        networks.hub = hub  # type: ignore[assignment]
        await test(networks, hub)

    asyncio.run(run())


def spec(*networks: str, **fields: Any) -> SandboxSpec:
    return SandboxSpec(networks=networks, **fields)


def test_a_full_network_is_refused_by_name_until_somebody_leaves() -> None:
    async def test(networks: Networks, _: Hub) -> None:
        members = [box(f"b{n}") for n in HOSTS]
        for member in members:
            await networks.join(member, spec("net"), "client")

        with pytest.raises(SandboxError, match="network net is full: it has 1021 members"):
            await networks.join(box("late"), spec("net"), "client")
        members[7].ended.set_result(Death(reason="closed"))
        await turn()  # its end is told
        await asyncio.wait(networks._tasks)
        late = box("late")
        await networks.join(late, spec("net"), "client")
        assert late.addresses == members[7].addresses

    within(test)


def test_a_run_that_has_all_networks_there_are_says_so_until_one_is_closed() -> None:
    async def test(networks: Networks, _: Hub) -> None:
        opened = [await networks.open("client", None) for _ in range(NETWORKS)]

        full = f"has {NETWORKS} networks, and can have no more"
        with pytest.raises(SandboxError, match=full):
            await networks.open("client", None)
        with pytest.raises(SandboxError, match=full):
            await networks.join(box("b"), spec("implicit"), "client")
        await networks.close(opened[3])
        assert (await networks.open("client", None)).number == opened[3].number

    within(test)


def test_who_cannot_join_all_of_its_networks_is_a_member_of_none_and_holds_no_address() -> None:
    async def test(networks: Networks, hub: Hub) -> None:
        first = box("db")
        await networks.join(first, spec("two"), "client")
        with pytest.raises(SpecError, match="network two has a member with the name db already"):
            await networks.join(box("other"), spec("one", "two", name="DB"), "client")
        hub.failing = "join"
        with pytest.raises(SandboxError, match="b cannot join its networks: No space left"):
            await networks.join(box("b"), spec("one", "two"), "client")

        assert not networks.find("client", "one").members
        assert list(networks.find("client", "two").members) == ["db"]

    within(test)


def test_a_network_that_cannot_be_made_is_not_there() -> None:
    async def test(networks: Networks, hub: Hub) -> None:
        hub.failing = "make_network"
        with pytest.raises(SandboxError, match="network backend cannot be made: No space left"):
            await networks.open("client", "backend")
        hub.failing = ""
        await networks.open("client", "backend")

    within(test)


def test_sandboxes_that_name_a_new_network_at_once_make_it_once() -> None:
    async def test(networks: Networks, hub: Hub) -> None:
        await asyncio.gather(*(networks.join(box(f"b{n}"), spec("net"), "client") for n in range(5)))

        assert hub.told.count("make_network") == 1
        assert len(networks.find("client", "net").members) == 5

    within(test)


def test_the_networks_of_a_client_that_has_gone_are_closed_and_no_others() -> None:
    async def test(networks: Networks, hub: Hub) -> None:
        for owner in ("one", "two"):
            await networks.join(box(owner), spec("net"), owner)

        networks.owner_gone("one")
        await asyncio.wait(networks._tasks)

        assert hub.told.count("remove_network") == 1
        with pytest.raises(SandboxError, match="there is no network net"):
            networks.find("one", "net")
        assert networks.find("two", "net").members

    within(test)
