"""The log of a main command as it grows: from what is kept to its end, for several at once, and nobody waits for who is slow."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from events import line_from, until
from needs import needs

from lxsandbox import Sandbox
from lxsandbox.errors import SandboxDied, SpecError

pytestmark = needs("user-namespaces", "overlayfs")

Make = Callable[..., Sandbox]
MIB = 1 << 20
DROPPED = re.compile(r"\[… (\d+) bytes dropped\]\n")


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def asked(box: Sandbox, line: str) -> None:
    """Have the main command below print `line`."""
    box.run(["sh", "-c", 'echo "$1" > /tmp/lines', "sh", line], check=True)


# Prints what is written to a named pipe.
REPEATS = shell("mkfifo /tmp/lines; echo begun; while :; do cat /tmp/lines; done")


@pytest.fixture
def repeating(make_sandbox: Make) -> Sandbox:
    box = make_sandbox(command=REPEATS)
    until(lambda: box.logs() == "begun\n", "it has begun")
    return box


def pipes_of_the_service(box: Sandbox) -> int:
    """How many pipes it holds; other descriptors come and go with what it makes ahead."""
    folder = f"/proc/{box._control.connection.hello.pid}/fd"
    return sum(_target(f"{folder}/{name}").startswith("pipe:") for name in os.listdir(folder))


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""


def test_lines_come_as_they_are_printed(repeating: Sandbox) -> None:
    lines = repeating.logs(follow=True)

    assert next(lines) == "begun\n"
    for line in ("one", "", "zwei ü"):
        asked(repeating, line)
        assert next(lines) == f"{line}\n"


def test_following_ends_with_the_sandbox_and_its_last_words_come(make_sandbox: Make) -> None:
    box = make_sandbox(command=shell("echo first; printf 'no end of line'; kill $$"))

    assert list(box.logs(follow=True)) == ["first\n", "no end of line"]


def test_what_was_printed_before_it_was_closed_can_be_read_after(repeating: Sandbox) -> None:
    lines = repeating.logs(follow=True)
    repeating.close()

    assert list(lines) == ["begun\n"]
    with pytest.raises(SandboxDied):
        repeating.logs(follow=True)


def test_following_goes_on_over_restarts(make_sandbox: Make) -> None:
    box = make_sandbox(command=shell("echo up; exit 1"), restart="on-failure:2")

    assert list(box.logs(follow=True)) == ["up\n"] * 3


def test_a_reset_ends_it(repeating: Sandbox) -> None:
    lines = repeating.logs(follow=True)
    assert next(lines) == "begun\n"

    repeating.reset()

    assert list(lines) == []
    assert next(repeating.logs(follow=True)) == "begun\n"


def test_several_follow_at_once_each_from_the_beginning(repeating: Sandbox) -> None:
    first = [repeating.logs(follow=True) for _ in range(20)]
    asked(repeating, "more")
    second = repeating.logs(follow=True)

    for lines in (*first, second):
        assert [next(lines), next(lines)] == ["begun\n", "more\n"]


def test_what_is_no_text_is_replaced(make_sandbox: Make) -> None:
    box = make_sandbox(command=shell(r"printf '\377\n\303'; printf '\274\n'"))

    assert list(box.logs(follow=True)) == ["\ufffd\n", "ü\n"]


def test_a_line_without_an_end_comes_in_pieces(make_sandbox: Make) -> None:
    box = make_sandbox(command=shell("head -c 3000000 /dev/zero | tr '\\0' x"))

    pieces = [DROPPED.sub("", line).rstrip("\n") for line in box.logs(follow=True)]

    assert max(map(len, pieces)) <= MIB
    assert set("".join(pieces)) == {"x"}


def test_a_slow_follower_is_told_what_it_has_missed_and_stops_nobody(make_sandbox: Make) -> None:
    box = make_sandbox(command=shell("mkfifo /tmp/go; echo begun; cat /tmp/go; seq 1000000; echo end; cat /tmp/go; exit 5"))
    slow = box.logs(follow=True)
    assert next(slow) == "begun\n"

    box.run(["sh", "-c", "echo > /tmp/go"], check=True)
    until(lambda: box.logs(tail=1) == "end\n", "the command has printed all, though nobody has read it")
    printed = sum(len(f"{number}\n") for number in range(1, 1_000_001)) + len("\nend\n")
    with suppress(SandboxDied):  # it may end before the one that told it to
        box.run(["sh", "-c", "echo > /tmp/go"])
    lines = list(slow)

    notices = [found for line in lines if (found := DROPPED.fullmatch(line))]
    assert len(notices) == 1
    rest = [line for line in lines if not DROPPED.fullmatch(line)]
    assert sum(map(len, rest)) + int(notices[0][1]) == printed + 1
    assert rest[-2:] == ["end\n", "\n"]
    whole = [line for line in rest if line.strip().isdecimal()]
    assert int(whole[-1]) == 1_000_000
    at = lines.index(notices[0][0])
    assert int(lines[at + 2]) == int(lines[at + 1]) + 1  # it goes on at the beginning of a line


def test_who_comes_late_is_told_what_is_not_kept(make_sandbox: Make) -> None:
    box = make_sandbox(command=shell("seq 1000000; echo end; exec sleep 999"))
    until(lambda: box.logs(tail=1) == "end\n", "it has printed all")

    found = DROPPED.fullmatch(next(box.logs(follow=True)))

    assert found is not None
    assert int(found[1]) > 5_000_000


def test_yes_for_a_while_keeps_neither_memory_nor_the_service(make_sandbox: Make) -> None:
    box = make_sandbox(command=["yes"])
    followers = [box.logs(follow=True) for _ in range(3)]
    pid = box._control.connection.hello.pid
    until(lambda: len(box.logs()) >= MIB, "its log is full")
    before = resident_kib(pid)

    for _ in range(50):
        assert box.run(["true"]).returncode == 0

    assert resident_kib(pid) - before < 4096
    assert next(followers[0]) == "y\n"


@pytest.mark.parametrize(("tail", "expected"), [(0, ""), (1, "begun\n"), (5, "begun\n")])
def test_the_last_lines_alone(repeating: Sandbox, tail: int, expected: str) -> None:
    assert repeating.logs(tail=tail) == expected


def test_following_from_the_last_lines(repeating: Sandbox) -> None:
    asked(repeating, "one")
    asked(repeating, "two")
    until(lambda: "two" in repeating.logs(), "it has printed them")

    assert next(repeating.logs(follow=True, tail=1)) == "two\n"


@pytest.mark.parametrize("tail", [-1, True, 1.5, "all"])
def test_what_is_no_number_of_lines_is_refused(repeating: Sandbox, tail: int) -> None:
    with pytest.raises(SpecError, match="number of lines"):
        repeating.logs(tail=tail)


def test_without_a_main_command_there_is_nothing_to_follow(sandbox: Sandbox) -> None:
    assert list(sandbox.logs(follow=True)) == []


def test_who_stops_following_leaves_nothing(repeating: Sandbox) -> None:
    before = pipes_of_the_service(repeating)
    for _ in range(10):
        for _ in repeating.logs(follow=True):
            break

    until(lambda: pipes_of_the_service(repeating) == before, "the service has let go of all")
    asked(repeating, "more")
    assert list(take(repeating.logs(follow=True), 2)) == ["begun\n", "more\n"]


FOLLOWS = """
import sys
from lxsandbox import Sandbox
from lxsandbox.sandbox.connection import ServiceConnection
box = Sandbox.attach(sys.argv[2], connection=ServiceConnection.open(sys.argv[1], start=False, observer=True))
lines = box.logs(follow=True)
print(next(lines), end="", flush=True)
next(lines)
"""


def test_a_client_that_is_killed_leaves_nothing(repeating: Sandbox) -> None:
    before = pipes_of_the_service(repeating)
    arguments = [sys.executable, "-c", FOLLOWS, repeating._control.connection.folder, repeating.id]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, bufsize=0) as client:
        assert client.stdout is not None
        assert line_from(client.stdout) == "begun"
        client.send_signal(signal.SIGKILL)

    until(lambda: pipes_of_the_service(repeating) == before, "the service has let go of all")


def take(lines: Iterator[str], count: int) -> Iterator[str]:
    for _ in range(count):
        yield next(lines)


def resident_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])  # type: ignore[index]
