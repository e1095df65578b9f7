from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from lxsandbox import errors, wire
from lxsandbox.errors import CommandNotFound, HostUnsupported, SandboxDied, SandboxError
from lxsandbox.remote_errors import error_from_wire
from lxsandbox.sandbox.channel import Channel, ChannelClosed


@pytest.fixture
def ends():
    """A channel, and the bare socket of its peer."""
    here, there = wire.pair()
    channel = Channel(here)
    with there:
        yield channel, there
        channel.close()


def answer(there: socket.socket, fds: tuple[int, ...] = (), **fields: Any) -> dict[str, Any]:
    packet = wire.receive(there)
    assert packet is not None
    wire.send(there, {"id": packet[0]["id"], **fields}, fds)
    return packet[0]


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start `work` in a thread; the returned function waits for its result, or raises its error."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001  (handed to whoever asks for the result)
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> Any:
        thread.join(10)
        if isinstance(results[0], BaseException):
            raise results[0]
        return results[0]

    return result


def test_replies_reach_whoever_asked_in_whatever_order_they_come(ends):
    channel, there = ends
    results = [in_thread(lambda n=n: channel.call("echo", number=n)[0]["number"]) for n in range(8)]

    asked = [wire.receive(there)[0] for _ in range(8)]
    for message in reversed(asked):
        wire.send(there, {"id": message["id"], "ok": {"number": message["number"]}})

    assert [result() for result in results] == list(range(8))


def test_an_exit_that_arrives_before_anybody_waits_for_it_is_kept(ends):
    channel, there = ends
    started = in_thread(lambda: channel.execute([], args=["true"]))
    answer(there, ok={"pid": 7})
    command, fds = started()
    wire.send(there, {"event": "exit", "pid": 7, "status": -9})

    asked = in_thread(lambda: channel.call("main"))
    answer(there, ok={})
    asked()

    assert (command.status, fds) == (-9, [])


def test_a_pid_that_is_used_again_is_another_command(ends):
    channel, there = ends
    commands = []
    for status in (3, 4):
        started = in_thread(lambda: channel.execute([]))
        answer(there, ok={"pid": 7})
        commands.append(started()[0])
        wire.send(there, {"event": "exit", "pid": 7, "status": status})

    assert [channel.wait_exit(command, None) for command in commands] == [3, 4]


def test_end_of_file_wakes_every_waiter(ends):
    channel, there = ends
    results = [in_thread(lambda: channel.call("never")) for _ in range(4)]
    for _ in range(4):
        wire.receive(there)

    there.shutdown(socket.SHUT_RDWR)

    for result in results:
        with pytest.raises(ChannelClosed):
            result()
    assert channel.ended


def test_closing_wakes_the_thread_that_reads(ends):
    channel, there = ends
    result = in_thread(lambda: channel.call("never"))
    wire.receive(there)

    channel.close()

    with pytest.raises(ChannelClosed):
        result()


def test_descriptors_of_a_reply_that_came_too_late_are_closed(ends):
    channel, there = ends
    with pytest.raises(TimeoutError, match="'open' within 0 s"):
        channel.call("open", timeout=0)
    read, write = os.pipe()
    answer(there, (write,), ok={})
    os.close(write)

    assert not channel.wait_end(0)  # takes what has arrived

    assert os.read(read, 1) == b""  # no copy of the other end is left
    os.close(read)


def test_a_command_whose_start_nobody_waits_for_any_more_is_killed(ends):
    channel, there = ends
    with pytest.raises(TimeoutError):
        channel.execute([], 0)
    answer(there, ok={"pid": 7})

    assert not channel.wait_end(0)

    message, _ = wire.receive(there)
    assert (message["op"], message["pid"]) == ("kill_tree", 7)


def test_a_forked_child_is_told_that_the_sandbox_is_its_parents(ends):
    channel, there = ends
    child = os.fork()
    if child == 0:
        try:
            channel.call("main")
        except SandboxError as error:
            os._exit(0 if "fork" in str(error) else 1)
        finally:
            channel.close()
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    result = in_thread(lambda: channel.call("main"))  # the parent's end is as it was
    answer(there, ok={"pid": 1})
    assert result()[0] == {"pid": 1}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"kind": "OSError", "errno": 2, "filename": "/x"}, FileNotFoundError),
        ({"kind": "OSError", "errno": 13}, PermissionError),
        ({"kind": "CommandNotFound", "message": "no ls", "hint": "install it"}, CommandNotFound),
        ({"kind": "HostUnsupported", "message": "no cgroups", "capability": "cgroups"}, HostUnsupported),
        ({"kind": "SandboxDied", "name": "box", "death": {"reason": "oom", "memory_limit_bytes": 2**20}}, SandboxDied),
        ({"kind": "Death", "message": "not an error"}, SandboxError),
        ({"kind": "os", "message": "no name of ours"}, SandboxError),
    ],
)
def test_an_error_on_the_wire_comes_back_as_what_it_was(error, kind):
    rebuilt = error_from_wire(error)

    assert type(rebuilt) is kind
    assert getattr(rebuilt, "filename", None) == error.get("filename")
    assert getattr(rebuilt, "hint", "") == error.get("hint", "")


def test_every_error_of_ours_can_travel():
    for name in set(errors.__all__) - {"Death", "NotReady", "SandboxDied"}:
        assert type(error_from_wire({"kind": name, "message": "m", "hint": "h"})) is getattr(errors, name)
