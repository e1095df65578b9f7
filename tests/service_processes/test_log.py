"""The log of a main command, by itself: a pipe, what is kept of it, and who watches."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator
from itertools import pairwise
from typing import Any

import pytest

from lxsandbox.service.logs import Log

MIB = 1 << 20
Run = Callable[[Callable[[Log], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def run() -> Run:
    """Carry out a test with a log in an event loop."""

    def run(test: Callable[[Log], Coroutine[Any, Any, None]]) -> None:
        async def with_log() -> None:
            log = Log()
            try:
                await asyncio.wait_for(test(log), 30)
            finally:
                log.close()

        asyncio.run(with_log())

    return run


def write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def test_who_watches_is_told_what_comes_and_that_it_is_over(run: Run) -> None:
    async def test(log: Log) -> None:
        seen: asyncio.Queue[bytes] = asyncio.Queue()
        os.write(log.write_fd, b"before")
        assert log.text() == "before"

        log.watch(seen.put_nowait)
        os.write(log.write_fd, b"after")
        assert await seen.get() == b"after"
        log.given_away()
        assert await seen.get() == b""
        assert log.over

    run(test)


def test_who_watches_no_more_is_told_nothing(run: Run) -> None:
    async def test(log: Log) -> None:
        seen: asyncio.Queue[bytes] = asyncio.Queue()
        unwatch = log.watch(lambda block: pytest.fail(f"told {block!r}"))
        log.watch(seen.put_nowait)

        unwatch()
        unwatch()
        os.write(log.write_fd, b"more")
        assert await seen.get() == b"more"

    run(test)


def test_the_newest_is_kept_and_the_rest_is_counted(run: Run) -> None:
    async def test(log: Log) -> None:
        blocks = [bytes([65 + number % 26]) * 4096 for number in range(1024)]
        writing = asyncio.to_thread(write_all, log.write_fd, b"".join(blocks) + b"end\n")
        await writing

        assert log.text().endswith(blocks[-1].decode() + "end\n")
        assert MIB <= log.size - log.dropped <= MIB + 65536
        assert log.size == 4 * MIB + 4
        assert b"".join(iter_from(log, log.dropped)).decode() == log.text()

    run(test)


def test_what_comes_byte_by_byte_takes_no_more_room_than_it_has(run: Run) -> None:
    async def test(log: Log) -> None:
        tracemalloc.start()
        try:
            for _ in range(100_000):
                os.write(log.write_fd, b"x")
                log._take_in()
            assert tracemalloc.get_traced_memory()[0] < 300_000
        finally:
            tracemalloc.stop()
        assert log.size == 100_000

    run(test)


def test_the_event_loop_has_a_turn_between_two_blocks_of_a_flood(run: Run) -> None:
    async def test(log: Log) -> None:
        loop = asyncio.get_running_loop()
        turns = 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(turn)

        seen: list[tuple[int, int]] = []
        log.watch(lambda block: seen.append((turns, len(block))))
        loop.call_soon(turn)
        await asyncio.to_thread(write_all, log.write_fd, b"y\n" * (4 * MIB))

        assert max(size for _, size in seen) <= 65536
        assert all(before < after for (before, _), (after, _) in pairwise(seen))

    run(test)


@pytest.mark.parametrize(
    ("printed", "count", "left"),
    [
        ("a\nb\nc\n", 2, "b\nc\n"),
        ("a\nb\nc", 2, "b\nc"),
        ("a\nb\n", 5, "a\nb\n"),
        ("a\nb\n", 0, ""),
        ("\n\n\n", 1, "\n"),
        ("", 3, ""),
    ],
)
def test_the_last_lines_are_counted_as_tail_does(run: Run, printed: str, count: int, left: str) -> None:
    async def test(log: Log) -> None:
        os.write(log.write_fd, printed.encode())

        assert b"".join(iter_from(log, log.last_lines(count))).decode() == left

    run(test)


def test_of_one_that_has_ended_less_is_kept_once_nobody_reads_it(run: Run) -> None:
    async def test(log: Log) -> None:
        unwatch = log.watch(lambda _: None)
        await asyncio.to_thread(write_all, log.write_fd, b"z" * MIB)
        log.text()
        log.close()
        assert log.size - log.dropped == MIB

        unwatch()
        assert log.size - log.dropped == 65536

    run(test)


def iter_from(log: Log, place: int) -> Iterator[bytes]:
    while block := log.read(place):
        yield block
        place += len(block)
