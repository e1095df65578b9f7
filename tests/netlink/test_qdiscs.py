"""What is sent to the kernel for netem and tbf, against the bytes that tc(8) sends; and what a kernel says of it."""

from __future__ import annotations

import struct

import pytest

from lxsandbox.netlink.qdiscs import Netem, tbf_options

# Seen with `strace tc qdisc replace … netem ARGUMENTS` (iproute2 6.1), on x86: what TCA_OPTIONS holds. The limit is 1000 packets.
OF_TC = {
    "delay 100ms 10ms": "84d71700 e8030000 00000000 00000000 00000000 5a620200",
    "delay 100ms": "84d71700 e8030000 00000000 00000000 00000000 00000000",
    "loss 5% duplicate 1% corrupt 0.5%": "00000000 e8030000 cdcccc0c 00000000 295c8f02 00000000 0c000400 14ae4701 00000000",
    "delay 10ms reorder 25%": "5a620200 e8030000 00000000 01000000 00000000 00000000 0c000300 00000040 00000000",
    "delay 1ms rate 1mbit": "093d0000 e8030000 00000000 00000000 00000000 00000000 14000600 48e80100 00000000 00000000 00000000",
}
OURS = {
    "delay 100ms 10ms": Netem(delay=0.1, jitter=0.01),
    "delay 100ms": Netem(delay=0.1),
    "loss 5% duplicate 1% corrupt 0.5%": Netem(loss=0.05, duplicate=0.01, corrupt=0.005),
    "delay 10ms reorder 25%": Netem(delay=0.01, reorder=0.25),
    "delay 1ms rate 1mbit": Netem(delay=0.001, rate=125_000),
}
LIMIT = slice(4, 8)


@pytest.mark.parametrize("arguments", OF_TC)
def test_netem_gets_the_bytes_that_tc_sends_but_for_the_limit(arguments: str) -> None:
    of_tc, ours = bytearray.fromhex(OF_TC[arguments]), bytearray(OURS[arguments].options())
    assert struct.unpack("=I", ours[LIMIT])[0] > struct.unpack("=I", of_tc[LIMIT])[0]
    of_tc[LIMIT] = ours[LIMIT] = b""
    assert _words(ours) == _words(of_tc)


def _words(data: bytearray) -> list[str]:
    return [data[place : place + 4].hex() for place in range(0, len(data), 4)]


def test_a_rate_that_32_bits_do_not_hold_is_told_in_64() -> None:
    rate = 5_000_000_000
    assert struct.pack("=HHQ", 12, 8, rate) in Netem(rate=rate).options()
    assert struct.pack("=HHQ", 12, 4, rate) in tbf_options(rate=rate, burst=70_000, limit=140_000)


def test_tbf_gets_rate_limit_and_burst_as_tc_sends_them() -> None:
    # Of `tc qdisc replace … tbf rate 1mbit burst 70000 latency 100ms`, without the tables that only old kernels read.
    ours = tbf_options(rate=125_000, burst=70_000, limit=82_500)
    assert ours[4:16].hex() == "0001" + ours[6:12].hex() + "48e80100"
    assert ours[28:32].hex() == "44420100"
    assert ours.endswith(bytes.fromhex("08000600 70110100"))
