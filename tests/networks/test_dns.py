"""Queries and answers as bytes: what is read, what is written, and that nothing a sandbox sends does harm."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxsandbox.hub import dns

label = st.from_regex(rb"[A-Za-z0-9_-]{1,20}", fullmatch=True)


def query(
    name: bytes, kind: int = dns.A, *, flags: int = 0x0100, of: int = 1, counts: bytes = b"\0\1" + bytes(6), more: bytes = b""
) -> bytes:
    labels = b"".join(bytes([len(each)]) + each for each in name.split(b".") if each)
    return struct.pack("!HH", 0x1234, flags) + counts + labels + b"\0" + struct.pack("!HH", kind, of) + more


def edns(size: int, version: int = 0) -> dict[str, bytes]:
    return {"counts": b"\0\1" + bytes(5) + b"\1", "more": b"\0" + struct.pack("!HHIH", dns.OPT, size, version << 16, 0)}


def records(answer: bytes, asked: dns.Query) -> list[tuple[int, int, bytes]]:
    """Type, time to live, and data of each record of an answer; the OPT record is among them."""
    _, _, questions, answers, _, additional = struct.unpack_from("!HHHHHH", answer)
    assert questions == 1
    offset = 12 + len(asked.question)
    assert answer[12:offset] == asked.question
    found = []
    for _ in range(answers + additional):
        offset += 2 if answer[offset] == 0xC0 else 1
        kind, _, seconds, length = struct.unpack_from("!HHIH", answer, offset)
        found.append((kind, seconds, answer[offset + 10 : offset + 10 + length]))
        offset += 10 + length
    assert offset == len(answer)
    return found


def parsed(packet: bytes) -> dns.Query:
    read = dns.read(packet)
    assert read is not None
    return read


def test_a_name_is_read_in_lower_case_and_the_question_is_sent_back_as_it_came() -> None:
    asked = parsed(query(b"Db.Example", dns.AAAA))

    answer = dns.write(asked, dns.NO_ERROR, [(dns.AAAA, bytes(16))])

    assert (asked.name, asked.kind, asked.error, asked.size) == ("db.example", dns.AAAA, dns.NO_ERROR, 512)
    assert answer[:4] == b"\x12\x34\x85\x80"  # an answer, by who knows, recursion asked for and there
    assert b"\2Db\7Example" in answer
    assert records(answer, asked) == [(dns.AAAA, 0, bytes(16))]


@given(st.lists(label, min_size=1, max_size=6))
def test_any_name_is_read(labels: list[bytes]) -> None:
    assert parsed(query(b".".join(labels))).name == b".".join(labels).decode().lower()


def test_no_such_name_and_no_such_data_are_told_apart() -> None:
    asked = parsed(query(b"db"))

    assert dns.write(asked, dns.NO_SUCH_NAME, [])[3] & 0xF == 3
    assert dns.write(asked, dns.NO_ERROR, [])[3] & 0xF == 0


@pytest.mark.parametrize(("size", "most"), [(0, 512), (512, 512), (1232, 1232), (65535, 4096)])
def test_an_answer_is_as_long_as_who_asks_can_take_and_is_said_to_be_edns(size: int, most: int) -> None:
    asked = parsed(query(b"db", **edns(size)))

    answer = dns.write(asked, dns.NO_ERROR, [(dns.A, bytes(4))] * 300)

    found = records(answer, asked)
    assert most - 16 < len(answer) <= most
    assert found[-1][0] == dns.OPT
    assert not answer[2] & 0x02  # not cut: what is left out is as good as what is there


def test_a_cut_answer_without_edns_has_512_bytes_at_most() -> None:
    asked = parsed(query(b"db"))

    answer = dns.write(asked, dns.NO_ERROR, [(dns.A, bytes(4))] * 300)

    assert len(answer) <= 512
    assert len(records(answer, asked)) == (512 - 12 - len(asked.question)) // 16


def test_an_unknown_version_of_edns_is_said_to_be_bad() -> None:
    asked = parsed(query(b"db", **edns(1232, version=1)))

    answer = dns.write(asked, asked.error, [])

    assert answer[3] & 0xF == 0
    assert answer[-10:] == struct.pack("!HHIH", dns.OPT, 4096, 1 << 24, 0)  # 16, of which the upper bits are here


def test_other_classes_are_refused_and_other_operations_not_known() -> None:
    assert parsed(query(b"db", of=3)).error == dns.REFUSED
    assert parsed(query(b"db", flags=0x2800)).error == dns.NOT_IMPLEMENTED


@pytest.mark.parametrize(
    "packet",
    [
        b"", b"\0" * 11, query(b"db")[:-1], query(b"db", flags=0x8100),
        query(b"db", counts=bytes(8)), query(b"db", counts=b"\0\2" + bytes(6)),
        query(b"db")[:12] + b"\xc0\x0c\0\1\0\1", query(b"db")[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", query(b"a." * 128),
    ],
)  # fmt: skip
def test_what_is_no_query_gets_no_answer(packet: bytes) -> None:
    assert dns.read(packet) is None


@given(
    st.one_of(
        st.binary(max_size=600),
        st.builds(lambda cut, junk: query(b"db.example", **edns(1232))[:cut] + junk, st.integers(0, 60), st.binary(max_size=60)),
    )
)
def test_whatever_comes_is_read_and_answered_or_not_and_no_more(packet: bytes) -> None:
    asked = dns.read(packet)

    if asked is not None:
        answer = dns.write(asked, asked.error or dns.NO_ERROR, [(dns.A, bytes(4))] * 5)
        assert len(answer) <= max(asked.size, 12 + len(asked.question) + 11)
        dns.address_of(asked.name)


@given(st.ip_addresses())
def test_an_address_is_found_by_its_reverse_name(address: object) -> None:
    pointer: str = address.reverse_pointer  # type: ignore[attr-defined]

    assert dns.address_of(pointer) == str(address) or "." in str(address).partition(":")[2] or _is_mixed(str(address), pointer)


def _is_mixed(text: str, pointer: str) -> bool:
    """Addresses that inet_ntop(3) writes with an IPv4 address at the end, and Python does not."""
    found = dns.address_of(pointer)
    return found is not None and ":" in text and "." in found


@pytest.mark.parametrize(
    "name",
    [
        "",
        "arpa",
        "in-addr.arpa",
        "1.2.3.in-addr.arpa",
        "256.2.3.4.in-addr.arpa",
        "1.2.3.4.5.in-addr.arpa",
        "a.b.c.d.in-addr.arpa",
        "1.ip6.arpa",
        ".".join("g" * 32) + ".ip6.arpa",
        "²².1.1.1.in-addr.arpa",
    ],
)
def test_other_names_stand_for_no_address(name: str) -> None:
    assert dns.address_of(name) is None


@given(st.lists(st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True), min_size=1, max_size=4))
def test_the_name_in_an_answer_is_read_as_it_was(labels: list[str]) -> None:
    name = ".".join(labels)

    packet = query(b"")[:12] + dns.name_bytes(name) + b"\0\1\0\1"

    assert parsed(packet).name == name
