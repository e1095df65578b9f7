"""Two hundred sandboxes asked for at once: all come up, all are apart, all go; also with few descriptors to do it with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from events import wait_for_end
from faults.runs import Program, Runs
from needs import needs

pytestmark = needs("user-namespaces", "overlayfs", "libseccomp")

CROWD = """
import resource, sys, threading
from concurrent.futures import ThreadPoolExecutor
from lxsandbox import Sandbox

count, descriptors = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
together = threading.Barrier(count)

def make(number):
    together.wait(60)
    return Sandbox(disk="1M", command=["sleep", "1000"])

def use(box):
    text = f"{box.pid}\\n"
    assert box.check_output(["sh", "-c", "cat >> /tmp/pid; cat /tmp/pid"], input=text) == text

with ThreadPoolExecutor(count) as threads, ThreadPoolExecutor(20) as fewer_threads:
    boxes = list(threads.map(make, range(count)))
    list(fewer_threads.map(use, boxes))
    print(len({box.pid for box in boxes}), flush=True)
    input()
    if sys.argv[3] == "close":
        list(threads.map(Sandbox.close, boxes))
"""

ULIMIT = """
import resource
from lxsandbox import Sandbox
resource.setrlimit(resource.RLIMIT_NOFILE, (777, 2000))
with Sandbox() as box:
    print(box.check_output(["sh", "-c", "ulimit -Sn; ulimit -Hn"]), end="")
"""


@pytest.mark.parametrize("end", ["close", "leave"])
def test_two_hundred_at_once_all_come_up_and_all_go(runs: Runs, start: Callable[..., Program], end: str) -> None:
    program = start(CROWD, "200", "4096", end)
    assert program.line(seconds=100) == "200"
    inits = runs.inits()
    assert len(inits) >= 200
    program.go_on()
    status, _, err = program.end()
    assert (status, err) == (0, "")
    for pid in inits:
        wait_for_end(pid)


def test_the_usual_number_of_descriptors_is_enough_for_two_hundred(runs: Runs, start: Callable[..., Program]) -> None:
    program = start(CROWD, "200", "1024", "leave")
    assert program.line(seconds=100) == "200"
    program.process.kill()
    program.end()


def test_a_sandbox_has_the_descriptors_that_its_user_has(runs: Runs, start: Callable[..., Program]) -> None:
    program = start(ULIMIT)
    assert program.end() == (0, "777\n2000\n", "")
