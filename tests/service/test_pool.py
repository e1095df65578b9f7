"""Sandboxes made ahead: handed out once, for what they were made for, and never dirty."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from types import SimpleNamespace
from typing import cast

import pytest
from events import until, wait_for_end
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.errors import CommandNotFound, SandboxError
from lxsandbox.sandbox.connection import ServiceConnection
from lxsandbox.service.ahead import Ahead
from lxsandbox.service.blanks import Blanks
from lxsandbox.service.box import Box
from lxsandbox.service.quiet import Quiet
from lxsandbox.spec import SandboxSpec

pytestmark = needs("user-namespaces", "overlayfs")

MOST_SHAPES = 16
PAUSE_SECONDS = 0.003


def stock(connection: ServiceConnection, state: str) -> set[int]:
    """The inits that nobody has yet: `building` ones have no image, `parked` ones are ready for use."""
    return {each["pid"] for each in connection.request("list")["stock"] if each["state"] == state} - {-1}


def prewarm(connection: ServiceConnection, count: int, **fields: object) -> set[int]:
    """Have `count` of a shape made ahead; the inits of those."""
    connection.request("prewarm", spec=SandboxSpec.from_fields(fields).as_json(), required=[], count=count)
    until(lambda: len(stock(connection, "parked")) == count, "they are ready")
    return stock(connection, "parked")


def start(connection: ServiceConnection, **fields: object) -> Sandbox:
    return Sandbox.from_spec(SandboxSpec.from_fields(fields), required=[], connection=connection)


def test_one_made_ahead_is_handed_out(connection: ServiceConnection) -> None:
    ready = prewarm(connection, 2, disk="1M")

    boxes = [start(connection, disk="1M") for _ in range(2)]

    assert {box.pid for box in boxes} <= ready
    assert all(box.pooled for box in boxes)
    assert connection.request("figures")["pool_hits"] == 2
    for box in boxes:
        box.close()


def test_another_is_made_in_the_place_of_one_that_was_taken(connection: ServiceConnection) -> None:
    ready = prewarm(connection, 2, disk="1M")

    with start(connection, disk="1M") as box:
        until(lambda: len(stock(connection, "parked")) == 2, "there are two again")
        assert box.pid in ready
        assert box.pid not in stock(connection, "parked")


def test_none_is_handed_out_twice_or_dirty(connection: ServiceConnection) -> None:
    seen = set()
    for _ in range(30):
        with Sandbox(connection=connection) as box:
            assert box.pid not in seen
            seen.add(box.pid)
            script = "test -e /mine || test -e /tmp/mine || test -e /dev/shm/mine || pgrep sleep"
            assert box.run(["sh", "-c", script]).returncode == 1
            box.run(["sh", "-c", "touch /mine /tmp/mine /dev/shm/mine; sleep 1000 >/dev/null 2>&1 &"], check=True)
    assert connection.request("figures")["pool_hits"] > 0


def test_what_differs_is_applied_to_one_from_the_pool(connection: ServiceConnection) -> None:
    prewarm(connection, 3, disk="1M")

    for number in range(3):
        box = start(connection, disk="1M", env={"N": str(number)}, cwd="/usr", rlimits={"nofile": 40 + number})
        with box:
            assert box.pooled
            assert box.check_output(["sh", "-c", "echo $N; ulimit -n; pwd"]) == f"{number}\n{40 + number}\n/usr\n"


def test_a_command_of_its_own_starts_in_one_that_was_made_for_none(connection: ServiceConnection) -> None:
    prewarm(connection, 1, disk="1M")

    with start(connection, disk="1M", command=["sh", "-c", "echo up; exec sleep 600"]) as box:
        assert box.pooled
        until(lambda: box.logs() == "up\n", "it has printed")
        assert box.main is not None
        assert box.run(["echo", "beside it"]).stdout == "beside it\n"


def test_a_command_that_cannot_start_fails_the_start_of_one_from_the_pool_too(connection: ServiceConnection) -> None:
    ready = prewarm(connection, 1, disk="1M")

    with pytest.raises(CommandNotFound, match="no-such-thing"):
        start(connection, disk="1M", command=["no-such-thing"])
    for pid in ready:
        wait_for_end(pid)


def test_only_the_service_says_what_a_sandbox_is_to_become(connection: ServiceConnection) -> None:
    with start(connection, disk="1M") as box, pytest.raises(SandboxError, match="only the service"):
        box._control.request("go", env={}, cwd="/", user="0", rlimits={}, single_id=False, main=["true"])


def test_work_ahead_waits_for_a_pause_unless_it_presses() -> None:
    async def scene() -> None:
        quiet, pressing = Quiet(), asyncio.Event()
        with quiet.foreground():
            ahead = asyncio.create_task(quiet.wait(pressing))
            await asyncio.wait({ahead}, timeout=10 * PAUSE_SECONDS)
            assert not ahead.done()
            pressing.set()
            await asyncio.wait_for(ahead, 30)
        pressing.clear()
        await asyncio.wait_for(quiet.wait(pressing), 30)

    asyncio.run(scene())


def test_work_asked_for_while_it_is_given_up_is_done_once_more() -> None:
    times = 0

    async def work() -> None:
        nonlocal times
        times += 1
        if times == 1:
            ahead.start()

    async def scene() -> None:
        ahead.start()
        await ahead.finished()

    ahead = Ahead(work, Quiet())
    asyncio.run(scene())
    assert times == 2


def test_to_wait_for_blank_ones_that_are_there_makes_no_haste_for_the_next() -> None:
    made = 0

    async def make(_: bool) -> Box:
        nonlocal made
        made += 1
        return cast("Box", SimpleNamespace(ending=False))

    async def scene() -> None:
        quiet = Quiet()
        blanks = Blanks(make, quiet)
        blanks.refill()
        await blanks.filled()
        await blanks.filled()
        stocked = made
        with quiet.foreground():
            assert blanks.take(own_network=True) is not None
            await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=10 * PAUSE_SECONDS)
            assert made == stocked
        await blanks.filled()
        assert made == stocked + 1

    asyncio.run(scene())


def test_what_is_built_in_is_not(connection: ServiceConnection) -> None:
    prewarm(connection, 2, disk="1M")

    for fields in ({"disk": "2M"}, {"read_only": True}, {"capabilities": ["-CHOWN"]}, {"hostname": "me"}):
        with start(connection, **{"disk": "1M", **fields}) as box:
            assert not box.pooled


@needs("cgroup-memory", "cgroup-pids")
def test_limits_are_those_of_who_asked_and_not_of_who_it_was_made_for(connection: ServiceConnection) -> None:
    prewarm(connection, 2, disk="1M", memory="300M", pids=300)

    for memory in (32, 64):
        with start(connection, disk="1M", memory=f"{memory}M", swap=0, pids=30) as box:
            assert box.pooled
            code = f"x = b'x' * ({memory + 8} << 20)"
            assert box.run(["/usr/bin/python3", "-I", "-S", "-c", code]).returncode == -9


def test_one_that_has_died_meanwhile_is_not_handed_out(connection: ServiceConnection) -> None:
    for pid in prewarm(connection, 1, disk="1M") | stock(connection, "building"):
        with suppress(PermissionError):  # to a plain user they belong to somebody else
            os.kill(pid, 9)
            wait_for_end(pid)

    for _ in range(3):
        with start(connection, disk="1M") as box:
            assert box.run(["true"]).returncode == 0


def test_shapes_beyond_the_bound_are_let_go(connection: ServiceConnection) -> None:
    for number in range(MOST_SHAPES + 4):
        spec = SandboxSpec(disk=(1 << 20) + number * 4096)
        connection.request("prewarm", spec=spec.as_json(), required=[], count=1)
    until(lambda: len(stock(connection, "parked")) == MOST_SHAPES, "as many as there may be")

    with start(connection, disk=1 << 20) as oldest:
        assert not oldest.pooled
    with start(connection, disk=(1 << 20) + (MOST_SHAPES + 3) * 4096) as newest:
        assert newest.pooled


def test_a_shape_that_cannot_be_built_is_not_tried_for_ever(connection: ServiceConnection) -> None:
    spec = SandboxSpec(disk=4096)  # too small for its own files
    connection.request("prewarm", spec=spec.as_json(), required=[], count=2)

    with Sandbox(connection=connection) as box:
        assert box.run(["true"]).returncode == 0
    assert stock(connection, "parked") == set()
