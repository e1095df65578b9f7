"""The channel of a wait, against a peer that is not in a hurry."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

import pytest

from lxsandbox import wire
from lxsandbox.service.readiness.link import Link, LinkLost

Scene = Callable[[Link, socket.socket], Awaitable[None]]


def play(scene: Scene) -> None:
    async def whole() -> None:
        ours, theirs = wire.pair()
        link = Link(ours)
        with theirs:
            await scene(link, theirs)

    asyncio.run(whole())


def asked(peer: socket.socket) -> wire.Message:
    received = wire.receive(peer)
    assert received is not None
    for fd in received[1]:
        os.close(fd)
    return received[0]


async def a_turn() -> None:
    """Let the loop take in what has come, and what follows from that."""
    for _ in range(3):
        await asyncio.wait((asyncio.get_running_loop().create_future(),), timeout=0.001)


def test_a_command_that_starts_after_nobody_waits_is_killed_and_then_the_channel_closed() -> None:
    async def scene(link: Link, peer: socket.socket) -> None:
        starting = asyncio.get_running_loop().create_task(link.start((0, 1, 2), args=["x"]))
        await a_turn()
        request = asked(peer)
        starting.cancel()
        await a_turn()
        link.close()

        wire.send(peer, {"id": request["id"], "ok": {"pid": 7}})
        await a_turn()
        kill = asked(peer)
        assert (kill["op"], kill["pid"]) == ("kill_tree", 7)
        wire.send(peer, {"event": "exit", "pid": 7, "status": -9})
        wire.send(peer, {"id": kill["id"], "ok": {}})
        await a_turn()
        assert wire.receive(peer) is None

    play(scene)


def test_the_news_of_an_end_may_come_with_the_answer() -> None:
    async def scene(link: Link, peer: socket.socket) -> None:
        starting = asyncio.get_running_loop().create_task(link.start((0, 1, 2), args=["x"]))
        await a_turn()
        request = asked(peer)
        wire.send(peer, {"id": request["id"], "ok": {"pid": 7}})
        wire.send(peer, {"event": "exit", "pid": 7, "status": 3})
        assert await (await starting) == 3
        link.close()
        assert wire.receive(peer) is None

    play(scene)


def test_a_descriptor_that_comes_as_the_wait_ends_is_closed() -> None:
    async def scene(link: Link, peer: socket.socket) -> None:
        asking = asyncio.get_running_loop().create_task(link.ask("open"))
        await a_turn()
        request = asked(peer)
        reader, writer = os.pipe()
        link._told({"id": request["id"], "ok": {}}, [writer])
        asking.cancel()  # before the task has had its turn
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert os.read(reader, 1) == b""  # nobody has the other end
        os.close(reader)
        link.close()

    play(scene)


def test_what_waits_for_an_init_that_ends_is_told() -> None:
    async def scene(link: Link, peer: socket.socket) -> None:
        starting = asyncio.get_running_loop().create_task(link.start((0, 1, 2), args=["x"]))
        await a_turn()
        wire.send(peer, {"id": asked(peer)["id"], "ok": {"pid": 7}})
        ended = await starting
        asking = asyncio.get_running_loop().create_task(link.ask("stat"))
        await a_turn()
        asked(peer)
        peer.close()
        for waited in (ended, asking, link.ask("stat")):
            with pytest.raises(LinkLost):
                await waited
        link.close()

    play(scene)
