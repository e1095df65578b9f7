"""Messages and descriptors between processes, on real sockets."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lxsandbox import wire

# Text may hold lone surrogates: names of files that are not UTF-8.
scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(st.characters(exclude_categories=[])))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))
messages = st.dictionaries(st.text(max_size=10), values, max_size=5)

Ends = tuple[socket.socket, socket.socket]


@contextmanager
def pair() -> Iterator[Ends]:
    ours, theirs = wire.pair()
    with ours, theirs:
        for end in (ours, theirs):
            end.settimeout(10)
        yield ours, theirs


@pytest.fixture
def ends() -> Iterator[Ends]:
    with pair() as both:
        yield both


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def send_raw(sock: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
    sock.sendmsg([data], rights)


def memory_file(data: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, data)
    return fd


@given(messages)
@settings(max_examples=50)
def test_a_message_arrives_as_it_was_sent(message: dict[str, Any]) -> None:
    with pair() as (ours, theirs):
        wire.send(ours, message)

        assert wire.receive(theirs) == (message, [])


@given(st.lists(messages, max_size=5))
@settings(max_examples=25)
def test_messages_arrive_whole_and_in_order(sent: list[dict[str, Any]]) -> None:
    with pair() as (ours, theirs):
        for message in sent:
            wire.send(ours, message)

        assert [wire.receive(theirs) for _ in sent] == [(message, []) for message in sent]


@pytest.mark.parametrize("count", [1, 3, 60])
def test_descriptors_come_with_their_message_and_are_close_on_exec(ends: Ends, count: int) -> None:
    files = [memory_file(str(number).encode()) for number in range(count)]
    wire.send(ends[0], {"op": "x"}, files)
    received = wire.receive(ends[1])

    assert received is not None
    message, fds = received
    assert message == {"op": "x"}
    assert [os.pread(fd, 10, 0) for fd in fds] == [str(number).encode() for number in range(count)]
    assert all(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in fds)
    for fd in (*files, *fds):
        os.close(fd)


@pytest.mark.parametrize("length", [65_520, 65_536, 65_537, 1 << 20, 20 << 20])
def test_a_long_message_arrives_too_with_its_descriptors(ends: Ends, length: int) -> None:
    text, file = "x" * length, memory_file(b"mine")
    before = open_descriptors()
    wire.send(ends[0], {"text": text}, [file])
    received = wire.receive(ends[1])

    assert received is not None
    assert received[0] == {"text": text}
    assert [os.pread(fd, 10, 0) for fd in received[1]] == [b"mine"]
    os.close(received[1][0])
    assert open_descriptors() == before
    os.close(file)


def test_a_message_without_end_is_refused_and_nothing_is_sent(ends: Ends) -> None:
    before = open_descriptors()
    with pytest.raises(OSError, match="over the bound"):
        wire.send(ends[0], {"text": "x" * (65 << 20)})

    assert open_descriptors() == before
    ends[0].close()
    assert wire.receive(ends[1]) is None


def test_a_memory_file_that_is_too_large_is_refused_unread(ends: Ends) -> None:
    huge = os.memfd_create("huge")
    os.ftruncate(huge, 1 << 40)
    send_raw(ends[0], b"\0", [huge])
    os.close(huge)

    before = open_descriptors()
    with pytest.raises(OSError, match="over the bound"):
        wire.receive(ends[1])

    assert open_descriptors() == before


def test_end_of_file_is_none(ends: Ends) -> None:
    wire.send(ends[0], {"last": 1})
    ends[0].close()

    assert wire.receive(ends[1]) == ({"last": 1}, [])
    assert wire.receive(ends[1]) is None


def test_the_last_words_of_a_peer_that_left_our_own_unread_arrive(ends: Ends) -> None:
    wire.send(ends[0], {"never": "read"})
    wire.send(ends[1], {"last": "words"})
    ends[1].close()

    assert wire.receive(ends[0]) == ({"last": "words"}, [])
    assert wire.receive(ends[0]) is None


def test_sending_to_nobody_is_a_broken_pipe_and_no_signal(ends: Ends) -> None:
    ends[1].close()

    with pytest.raises(BrokenPipeError):
        wire.send(ends[0], {"op": "x"})


def test_nothing_to_read_is_would_block_on_a_socket_that_does_not(ends: Ends) -> None:
    ends[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        wire.receive(ends[1])


GARBAGE = [b"x", b"[]", b"5", b"null", b'"text"', b"{", b"\xff\xfe", b"{}{}", b"[" * 50_000, b"\0\0", b"\0x", b'{"a":1']


@pytest.mark.parametrize("data", GARBAGE, ids=lambda data: repr(data[:10]))
def test_what_is_no_message_is_an_error_that_leaves_no_descriptor(ends: Ends, data: bytes) -> None:
    file = memory_file(b"")
    send_raw(ends[0], data, [file, file])
    os.close(file)
    before = open_descriptors()

    with pytest.raises(OSError, match=r"bad message|not an object") as caught:
        wire.receive(ends[1])

    assert caught.value.errno == errno.EBADMSG
    assert open_descriptors() == before


@given(st.binary(min_size=1, max_size=200), st.integers(0, 3))
@settings(max_examples=200)
def test_no_bytes_make_it_fail_otherwise_or_leak(data: bytes, count: int) -> None:
    with pair() as (ours, theirs):
        file = memory_file(b"{}")
        send_raw(ours, data, [file] * count)
        os.close(file)
        before = open_descriptors()
        try:
            received = wire.receive(theirs)
        except OSError:
            received = None
        for fd in received[1] if received else []:
            os.close(fd)

        assert open_descriptors() == before


def test_a_packet_longer_than_any_of_ours_is_refused(ends: Ends) -> None:
    send_raw(ends[0], json.dumps({"text": "x" * 70_000}).encode())

    with pytest.raises(OSError, match="cut short"):
        wire.receive(ends[1])


def test_more_descriptors_than_any_message_of_ours_are_refused_and_closed(ends: Ends) -> None:
    file = memory_file(b"")
    send_raw(ends[0], b"{}", [file] * 250)
    os.close(file)
    before = open_descriptors()

    with pytest.raises(OSError, match="cut short"):
        wire.receive(ends[1])

    assert open_descriptors() == before


@pytest.mark.parametrize("bodies", [0, 1])
def test_a_promised_memory_file_that_is_none_is_an_error(ends: Ends, bodies: int) -> None:
    read, write = os.pipe()
    send_raw(ends[0], b"\0", [read] * bodies)
    os.close(read)
    os.close(write)
    before = open_descriptors()

    with pytest.raises(OSError, match=r"Bad file descriptor|Illegal seek"):
        wire.receive(ends[1])

    assert open_descriptors() == before


def test_what_cannot_be_said_in_json_is_not_sent(ends: Ends) -> None:
    with pytest.raises(TypeError):
        wire.send(ends[0], {"x": object()})

    ends[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        wire.receive(ends[1])
