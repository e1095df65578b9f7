"""Conditions as values: written, shown, combined, refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lxsandbox import Command, File, Healthy, Http, Log, Port
from lxsandbox.conditions import Condition, condition_from_json
from lxsandbox.errors import SpecError

WRITTEN = [
    "Port(5432)",
    "Http(8080)",
    "Http(8080, '/health')",
    "Http(8080, status=204)",
    "Http(8080, status=(200, 404))",
    "Http(8080, '/x?y=1', status=range(200, 300), method='HEAD', headers={'Host': 'a'}, contains='ok')",
    "Log('ready')",
    "Log('ready$', count=2)",
    "Command(['pg_isready', '-q'])",
    "Command(['true'], user='nobody', env={'A': 'b'})",
    "File('/run/ready')",
    "File('/run/ready', contains='yes')",
    "Healthy()",
    "Port(1) & Log('a') & File('/b')",
    "Port(1) | Log('a') & File('/b') | Healthy()",
    "(Port(1) | Log('a')) & (File('/b') | Healthy())",
]
BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: Port(0), "port=0 "),
    (lambda: Port(70000), "port=70000"),
    (lambda: Port(True), "port=True"),
    (lambda: Port("5432"), "port='5432'"),  # type: ignore[arg-type]
    (lambda: Http(0), "Http port=0"),
    (lambda: Http(80, "health"), "path='health'"),
    (lambda: Http(80, "/a b"), "path='/a b'"),
    (lambda: Http(80, "/\r\nHost: b"), "path"),
    (lambda: Http(80, status=99), "status=99"),
    (lambda: Http(80, status=True), "status=True"),
    (lambda: Http(80, status=[]), r"status=\[\]"),
    (lambda: Http(80, status=range(10**12)), "status=range"),
    (lambda: Http(80, status="200"), "status='200'"),  # type: ignore[arg-type]
    (lambda: Http(80, method="G ET"), "method='G ET'"),
    (lambda: Http(80, headers={"A": "b\r\nC: d"}), "headers"),
    (lambda: Http(80, headers=["A"]), "headers"),  # type: ignore[arg-type]
    (lambda: Http(80, contains=""), "contains=''"),
    (lambda: Log("("), "missing \\)"),
    (lambda: Log(""), "pattern=''"),
    (lambda: Log(b"x"), "pattern=b'x'"),  # type: ignore[arg-type]
    (lambda: Log("x", count=0), "count=0"),
    (lambda: Log("x", count=True), "count=True"),
    (lambda: Command("pg_isready"), "is a string"),
    (lambda: Command([]), "at least one"),
    (lambda: Command(["a"], user=True), "user=True"),
    (lambda: Command(["a"], env={"A": 1}), "env"),  # type: ignore[dict-item]
    (lambda: File("run/ready"), "absolute path"),
    (lambda: File("/run/../etc"), "absolute path"),
    (lambda: File("/a", contains=b"x"), "contains=b'x'"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("text", WRITTEN)
def test_a_condition_is_shown_as_it_is_written_and_travels(text: str) -> None:
    names: dict[str, Any] = {kind.__name__: kind for kind in (Port, Http, Log, Command, File, Healthy)}
    condition: Condition = eval(text, names)

    assert repr(condition) == text
    back = condition_from_json(json.loads(json.dumps(condition.as_json())))
    assert back == condition
    assert repr(back) == text
    assert hash(back) == hash(condition)


@pytest.mark.parametrize(("make", "told"), BAD)
def test_what_makes_no_sense_is_refused_with_what_was_written(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        make()


def test_and_in_the_place_of_an_ampersand_is_refused() -> None:
    with pytest.raises(SpecError, match="neither true nor false") as caught:
        Port(1) and Port(2)
    assert "&" in caught.value.hint


def test_conditions_combine_with_conditions_alone() -> None:
    with pytest.raises(TypeError):
        Port(1) & 2  # type: ignore[operator]
    with pytest.raises(SpecError, match="no condition 'Nothing'"):
        condition_from_json({"kind": "Nothing"})


def test_a_condition_cannot_be_changed() -> None:
    given = ["true"]
    condition = Command(given)
    given.append("more")

    assert list(condition.args) == ["true"]
    with pytest.raises(AttributeError):
        condition.args = ["false"]  # type: ignore[misc]
