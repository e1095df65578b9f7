"""Challenges are read as RFC 9110 has them, and nonsense is read as none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lxsandbox.images.registry.challenge import parse_challenges


def read(text: str) -> list[tuple[str, dict[str, str]]]:
    return [(challenge.scheme, dict(challenge.parameters)) for challenge in parse_challenges(text)]


@pytest.mark.parametrize(
    ("text", "challenges"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a \\"b\\", c"', [("basic", {"realm": 'a "b", c'})]),
        ('BEARER Realm="https://x" , SERVICE=y,scope=""', [("bearer", {"realm": "https://x", "service": "y", "scope": ""})]),
        ('Basic realm="x", Bearer realm="y",a="z"', [("basic", {"realm": "x"}), ("bearer", {"realm": "y", "a": "z"})]),
        ('Negotiate, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Negotiate YWJj==, , Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Bearer realm="open', [("bearer", {})]),
        ('Bearer realm="x",scope="repository:a/b:pull,push"', [("bearer", {"realm": "x", "scope": "repository:a/b:pull,push"})]),
        (",,,", []),
        ('"', []),
    ],
)  # fmt: skip
def test_a_header_is_its_challenges(text: str, challenges: list[tuple[str, dict[str, str]]]) -> None:
    assert read(text) == challenges


@given(st.text(alphabet=' ,="\\abBasicBearer\t', max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_header_is_read_to_an_end(text: str) -> None:
    for scheme, parameters in read(text):
        assert scheme == scheme.lower()
        assert all(name == name.lower() for name in parameters)


def test_a_long_header_takes_no_long_time() -> None:
    for text in ("a" * 60_000, "Bearer " + "a=," * 20_000, 'Bearer x="' + "\\a" * 30_000, " " * 60_000, "a " * 30_000):
        read(text)
