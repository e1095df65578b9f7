"""`Log`: lines of the main command, however they come."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import cast

import pytest
from needs import needs
from readiness.conftest import A_MOMENT, Make

from lxsandbox import Log, Sandbox
from lxsandbox.errors import NotReady, SpecError
from lxsandbox.service.logs import Log as Printed
from lxsandbox.service.readiness.printed import LogWatch
from lxsandbox.service.readiness.watch import Sight

pytestmark = needs("user-namespaces", "overlayfs")

STEPS = ["sh", "-c", "mkfifo /run/step; printf 'starting\\nrea'; read x < /run/step; printf 'dy\\n'; read x < /run/step; cat"]


def step(box: Sandbox) -> None:
    box.run(["sh", "-c", "echo > /run/step"], check=True)


def test_a_line_counts_that_was_printed_before_or_comes_in_pieces(make_sandbox: Make, apart: ThreadPoolExecutor) -> None:
    box = make_sandbox(command=[*STEPS[:2], STEPS[2].replace("cat", "sleep 1000")])
    box.wait_until(Log("^start"))
    waiting = apart.submit(box.wait_until, Log("^ready$"))
    with pytest.raises(NotReady, match=r"no line matched, 2 were printed, the last is 'rea'"):
        box.wait_until(Log("ready"), timeout=A_MOMENT)

    step(box)
    waiting.result(timeout=30)
    box.wait_until(Log("ready") & Log("ing$"))


def test_each_line_counts_once(make_sandbox: Make) -> None:
    box = make_sandbox(command=["sh", "-c", "echo ready ready; echo not yet; echo ready; sleep 1000"])
    box.wait_until(Log("ready", count=2))
    with pytest.raises(NotReady, match="2 of 3 lines matched, 3 were printed"):
        box.wait_until(Log("ready", count=3), timeout=A_MOMENT)


def test_a_prompt_without_an_end_of_line_counts(make_sandbox: Make) -> None:
    box = make_sandbox(command=["sh", "-c", "printf 'login: '; sleep 1000"])
    box.wait_until(Log("^login: $"))


def test_what_stderr_gets_counts_too(make_sandbox: Make) -> None:
    make_sandbox(command=["sh", "-c", "echo ready >&2; sleep 1000"]).wait_until(Log("ready"))


def test_a_flood_without_a_line_is_waited_through(make_sandbox: Make) -> None:
    box = make_sandbox(command=["sh", "-c", "head -c 20000000 /dev/zero; echo; yes | head -n 300000; echo ready; sleep 1000"])
    box.wait_until(Log("^ready"))


def test_without_a_main_command_there_is_nothing_to_wait_for(make_sandbox: Make) -> None:
    with pytest.raises(SpecError, match="no main command"):
        make_sandbox().wait_until(Log("ready"))


TEXT = "eins\nfü\u20acnf ready\r\nnot\rready\n\nready".encode()


@pytest.mark.parametrize("cut", range(len(TEXT) + 1))
def test_wherever_blocks_end_the_lines_are_the_same(cut: int) -> None:
    async def count() -> list[int]:
        log = Printed()
        sight = cast("Sight", SimpleNamespace(box=SimpleNamespace(log=log)))
        os.write(log.write_fd, TEXT[:cut])
        assert log.text() == TEXT[:cut].decode(errors="replace")
        watches = [
            LogWatch(Log(pattern, count=n), sight)
            for pattern, n in (("ready$", 3), ("^fü€nf ready$", 1), ("^$", 1), ("ready", 4))
        ]
        tasks = [asyncio.get_running_loop().create_task(watch.come_true()) for watch in watches]
        await asyncio.wait(tasks, timeout=0)
        os.write(log.write_fd, TEXT[cut:])
        log.given_away()
        done, _ = await asyncio.wait(tasks[:3], timeout=30)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        log.close()
        assert not log._watchers
        return [tasks.index(task) for task in done if not task.cancelled()]

    assert sorted(asyncio.run(count())) == [0, 1, 2]


def test_a_line_that_goes_on_is_not_taken_for_one_that_has_ended() -> None:
    async def matched() -> bool:
        log = Printed()
        watch = LogWatch(Log("^ready$"), cast("Sight", SimpleNamespace(box=SimpleNamespace(log=log))))
        task = asyncio.get_running_loop().create_task(watch.come_true())
        await asyncio.wait((task,), timeout=0)
        for block in (b"ready", b"ing for more\n", b"already\n"):
            log._tell(block)
        await asyncio.wait((task,), timeout=A_MOMENT)
        found = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        log.close()
        return found

    assert not asyncio.run(matched())
