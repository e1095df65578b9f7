"""Sizes, durations, shares and rates as people write them, and back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxsandbox.errors import SpecError
from lxsandbox.units import format_size, parse_duration, parse_rate, parse_share, parse_size

POWERS = {"K": 10, "M": 20, "G": 30, "T": 40}


@given(st.integers(1, 2**63 - 1))
def test_a_number_is_that_many_bytes(count: int) -> None:
    assert parse_size(count) == count


@given(st.integers(1, 2**50))
def test_digits_alone_are_bytes(count: int) -> None:
    assert parse_size(str(count)) == parse_size(f"{count}B") == parse_size(f" {count} ") == count


@given(st.integers(1, 2**63 - 1))
def test_every_whole_number_of_bytes_is_kept_exactly_as_text(count: int) -> None:
    assert parse_size(str(count)) == count


@given(st.integers(1, 2**20), st.sampled_from(sorted(POWERS)), st.sampled_from(["", "i", "iB"]), st.booleans())
def test_a_letter_is_a_power_of_1024(count: int, letter: str, suffix: str, lower: bool) -> None:
    text = f"{count}{letter}{suffix}"

    assert parse_size(text.lower() if lower else text) == count << POWERS[letter]


@pytest.mark.parametrize(("text", "count"), [("2kB", 2000), ("1.5GiB", 3 << 29), ("0.5K", 512), ("3 MB", 3_000_000)])
def test_fractions_and_powers_of_1000_are_read(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "value",
    [
        "9" * 5000,
        "1." + "9" * 5000 + "K",
        "",
        "M",
        "-1",
        "1,5G",
        "1e3",
        "1 2",
        "10X",
        "0x10",
        "٣M",
        "0",
        0,
        -1,
        "0.1",
        2**63,
        "9999999T",
        True,
        None,
        1.5,
        b"1M",
        [1],
    ],
)
def test_what_is_no_size_is_refused_by_name_and_value(value: object) -> None:
    with pytest.raises(SpecError, match=re.escape(f"memory={value!r}")) as caught:
        parse_size(value, what="memory")  # type: ignore[arg-type]

    assert caught.value.hint


@given(st.text(max_size=12))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    try:
        assert parse_size(text) > 0
    except SpecError as error:
        assert repr(text) in str(error)  # noqa: PT017 - most texts are no sizes, some are


@given(st.integers(1, 2**52))
def test_a_formatted_size_reads_back_as_nearly_the_same(count: int) -> None:
    assert parse_size(format_size(count)) == pytest.approx(count, rel=1e-3)


@pytest.mark.parametrize(("count", "text"), [(12, "12 B"), (256 << 20, "256 MiB"), (3 << 29, "1.5 GiB"), (5 << 40, "5 TiB")])
def test_sizes_are_shown_as_people_read_them(count: int, text: str) -> None:
    assert format_size(count) == text


@pytest.mark.parametrize(
    ("given_as", "seconds"),
    [(2, 2.0), (0.25, 0.25), ("100ms", 0.1), ("1.5s", 1.5), ("20us", 2e-5), (" 2 m ", 120.0), ("1h", 3600.0), (0, 0.0)],
)
def test_a_duration_is_seconds_or_text_with_a_unit(given_as: float | str, seconds: float) -> None:
    assert parse_duration(given_as) == pytest.approx(seconds)


@pytest.mark.parametrize("wrong", [-1, "5", "ms", "1 day", "1e3s", float("nan"), float("inf"), True, None, "-1s", "1 s 2"])
def test_what_is_no_duration_is_refused_by_the_name_that_it_was_given_by(wrong: float | str) -> None:
    with pytest.raises(SpecError, match="delay="):
        parse_duration(wrong, what="delay")


@pytest.mark.parametrize(("given_as", "share"), [(0.05, 0.05), ("5%", 0.05), (1, 1.0), ("100 %", 1.0), ("0.1%", 0.001), (0, 0.0)])
def test_a_share_is_a_fraction_of_one_or_a_percentage(given_as: float | str, share: float) -> None:
    assert parse_share(given_as) == pytest.approx(share)


@pytest.mark.parametrize("wrong", [1.01, -0.1, "101%", "0.5", "%", float("nan"), True, None])
def test_what_is_no_share_is_refused(wrong: float | str) -> None:
    with pytest.raises(SpecError, match="loss="):
        parse_share(wrong, what="loss")


@pytest.mark.parametrize(
    ("given_as", "count"),
    [
        (5000, 5000),
        ("1M", 1 << 20),
        ("1MB", 10**6),
        ("10mbit", 1_250_000),
        ("1Gbit", 125_000_000),
        ("8000bit", 1000),
        ("0.5kbit", 62),
    ],
)
def test_a_rate_is_bytes_a_second_or_bits_by_name(given_as: int | str, count: int) -> None:
    assert parse_rate(given_as) == count


@pytest.mark.parametrize("wrong", [0, -1, "fast", "10mbps", "1bit", 1.5, True, None])
def test_what_is_no_rate_is_refused(wrong: int | str) -> None:
    with pytest.raises(SpecError, match="rate="):
        parse_rate(wrong)
