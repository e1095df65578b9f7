"""An image's configuration: what Docker's and OCI's specifications have is read, and anything else is refused by field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lxsandbox import ImageError
from lxsandbox.image import Healthcheck
from lxsandbox.images.config import EPOCH, HistoryEntry, ImageConfig, parse_config
from lxsandbox.images.documents import Platform

DIGEST = "sha256:" + "0" * 64
ROOTFS = {"type": "layers", "diff_ids": [DIGEST]}
AMD64 = Platform(architecture="amd64")


def document(**changes: Any) -> bytes:
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": ROOTFS, **changes}).encode()


def settings_of(**given: Any) -> ImageConfig:
    return parse_config(document(config=given))


FULL = ImageConfig(
    platform=Platform(architecture="arm", variant="v7"),
    env={"PATH": "/bin", "EMPTY": "", "EQUALS": "a=b"},
    entrypoint=("/bin/tool",),
    command=("--flag", "ü"),
    user="alice:1000",
    working_dir="/home/alice",
    exposed_ports=("80/tcp", "53/udp"),
    volumes=("/a", "/b"),
    healthcheck=Healthcheck(test=("CMD", "true"), interval_seconds=0.25, retries=7),
    stop_signal="SIGRTMIN+3",
    shell=("/bin/bash", "-c"),
    labels={"b": "", "a": "1"},
    diff_ids=(DIGEST, DIGEST),
    history=(HistoryEntry(created_by="ADD", comment="x"), HistoryEntry(empty_layer=True, author="y")),
    created="2015-10-31T22:22:56.015925234Z",
    author="Alyssa P. Hacker <alyspdev@example.com>",
)


def test_what_is_written_is_read_back_and_always_the_same_bytes() -> None:
    parsed = parse_config(FULL.as_bytes())

    assert parsed.as_bytes() == FULL.as_bytes()
    assert parsed.exposed_ports == ("53/udp", "80/tcp")
    assert parsed.env == FULL.env
    assert parsed.healthcheck == FULL.healthcheck
    assert parsed.history == FULL.history


def test_an_image_of_nothing_but_layers_has_no_settings() -> None:
    assert parse_config(document()) == ImageConfig(platform=AMD64, diff_ids=(DIGEST,))
    assert json.loads(ImageConfig(platform=AMD64).as_bytes()) == {
        "architecture": "amd64", "config": {}, "created": EPOCH, "history": [], "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": []},
    }  # fmt: skip


def test_null_is_the_same_as_nothing() -> None:
    names = ["Env", "Entrypoint", "Cmd", "User", "WorkingDir", "ExposedPorts", "Volumes", "Healthcheck", "StopSignal", "Labels",
             "Shell"]  # fmt: skip
    nothing = document(config=dict.fromkeys(names), created=None, author=None, history=None, variant=None)

    assert parse_config(nothing) == parse_config(document(config=None)) == parse_config(document())


def test_ports_have_a_protocol_and_an_order() -> None:
    assert settings_of(ExposedPorts={"8080": {}, "53/UDP": None, "80/tcp": {}}).exposed_ports == ("53/udp", "80/tcp", "8080/tcp")


def test_of_two_variables_of_one_name_the_later_counts() -> None:
    assert settings_of(Env=["A=1", "B=2", "A=3"]).env == {"A": "3", "B": "2"}


def test_a_healthcheck_is_in_nanoseconds_and_has_dockers_defaults() -> None:
    check = settings_of(Healthcheck={"Test": ["CMD-SHELL", "true"], "Interval": 1_500_000_000, "Retries": 2}).healthcheck

    assert check == Healthcheck(
        test=("CMD-SHELL", "true"), interval_seconds=1.5, timeout_seconds=30, start_period_seconds=0, retries=2
    )
    assert settings_of(Healthcheck={"Test": []}).healthcheck is None
    assert settings_of(Healthcheck={"Test": ["NONE"]}).healthcheck == Healthcheck(test=("NONE",))


@pytest.mark.parametrize("signal", ["SIGTERM", "term", "15", "SIGRTMIN+3", "RTMAX-1", "SIGRTMIN", ""])
def test_signals_are_written_in_many_ways(signal: str) -> None:
    assert settings_of(StopSignal=signal).stop_signal == signal


@pytest.mark.parametrize("user", ["", "alice", "1000", "alice:users", "0:0", "1000:users"])
def test_users_are_written_in_many_ways(user: str) -> None:
    assert settings_of(User=user).user == user


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"Env": {}}, "Env is no list"),
        ({"Env": ["A"]}, "Env: 'A' is not NAME=VALUE"),
        ({"Env": ["=x"]}, "Env: '=x' is not"),
        ({"Env": [5]}, "Env: entry 0 5 is no text"),
        ({"Env": [None]}, "Env: entry 0 is null"),
        ({"Env": ["A=\0"]}, "Env: entry 0"),
        ({"Env": ["A=1"] * 5000}, "Env has 5000 entries"),
        ({"Env": ["A=" + "x" * 200_000]}, "Env: entry 0 is 200002 characters"),
        ({"Env": ["A=\ud800"]}, "Env: entry 0 .* is not valid Unicode"),
        ({"Cmd": "sh"}, "Cmd is no list"),
        ({"Entrypoint": [["sh"]]}, "Entrypoint: entry 0"),
        ({"Shell": [True]}, "Shell: entry 0 True is no text"),
        ({"User": 0}, "User 0 is no text"),
        ({"User": "a:b:c"}, "User 'a:b:c' is no user"),
        ({"User": "../x"}, "User"),
        ({"User": "root\n"}, "User"),
        ({"WorkingDir": "home"}, "WorkingDir 'home' is not an absolute path"),
        ({"WorkingDir": "../.."}, "WorkingDir"),
        ({"WorkingDir": False}, "WorkingDir False is no text"),
        ({"WorkingDir": "/" + "x" * 5000}, "WorkingDir"),
        ({"WorkingDir": "/a\0"}, "WorkingDir"),
        ({"ExposedPorts": ["80/tcp"]}, "ExposedPorts is no JSON object"),
        ({"ExposedPorts": {"0/tcp": {}}}, "ExposedPorts: '0/tcp' is no port"),
        ({"ExposedPorts": {"65536": {}}}, "ExposedPorts: '65536'"),
        ({"ExposedPorts": {"٣": {}}}, "ExposedPorts"),
        ({"ExposedPorts": {"80/icmp": {}}}, "ExposedPorts"),
        ({"Volumes": {"data": {}}}, "Volumes: 'data' is not an absolute path"),
        ({"Volumes": {"/../etc": {}}}, "Volumes: '/../etc' is no folder below the root"),
        ({"Volumes": {"//.": {}}}, "Volumes"),
        ({"Volumes": {"": {}}}, "Volumes has an entry without a name"),
        ({"Labels": {"a": 1}}, "Labels: 'a' 1 is no text"),
        ({"Labels": {"a": None}}, "Labels: 'a' is null"),
        ({"StopSignal": "SIGFOO"}, "StopSignal 'SIGFOO' is no signal"),
        ({"StopSignal": "0"}, "StopSignal"),
        ({"StopSignal": "65"}, "StopSignal"),
        ({"StopSignal": "SIGRTMIN+31"}, "StopSignal"),
        ({"StopSignal": "²"}, "StopSignal"),
        ({"Healthcheck": []}, "Healthcheck is no JSON object"),
        ({"Healthcheck": {"Test": ["curl"]}}, "Healthcheck: Test 'curl' is none"),
        ({"Healthcheck": {"Test": ["CMD"]}}, "Healthcheck: Test"),
        ({"Healthcheck": {"Test": ["CMD-SHELL", "a", "b"]}}, "Healthcheck: Test"),
        ({"Healthcheck": {"Test": ["NONE"], "Interval": -1}}, "Healthcheck: Interval -1"),
        ({"Healthcheck": {"Test": ["NONE"], "Timeout": 1.5}}, "Healthcheck: Timeout 1.5"),
        ({"Healthcheck": {"Test": ["NONE"], "StartPeriod": 10**400}}, "Healthcheck: StartPeriod"),
        ({"Healthcheck": {"Test": ["NONE"], "Retries": True}}, "Healthcheck: Retries True"),
    ],
)
def test_settings_that_make_no_sense_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ImageError, match=f"config of x: {said}"):
        parse_config(document(config=given), what="config of x")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config": []}, "config is no JSON object"),
        ({"os": None}, "os '' is none"),
        ({"architecture": ""}, "architecture '' is none"),
        ({"architecture": "amd64/../x"}, "architecture"),
        ({"variant": "v 7"}, "variant"),
        ({"rootfs": None}, "rootfs is no JSON object"),
        ({"rootfs": {"type": "folders", "diff_ids": []}}, "rootfs: type 'folders'"),
        ({"rootfs": {"type": "layers"}}, "rootfs: diff_ids is missing"),
        ({"rootfs": {"type": "layers", "diff_ids": ["sha256:../x"]}}, "rootfs: diff_ids: entry 0"),
        ({"rootfs": {"type": "layers", "diff_ids": ["sha512:" + "0" * 128]}}, "rootfs: diff_ids: entry 0 .* not of sha256"),
        ({"rootfs": {"type": "layers", "diff_ids": [DIGEST] * 501}}, "rootfs: diff_ids has 501"),
        ({"history": [None]}, "history: entry 0 is no JSON object"),
        ({"history": [{"empty_layer": 1}]}, "history: entry 0: empty_layer 1"),
        ({"history": [{"created": "yesterday"}]}, "history: entry 0: created 'yesterday'"),
        ({"history": [{}] * 5000}, "history has 5000 entries"),
        ({"created": 0}, "created 0"),
        ({"author": ["x"]}, "author"),
    ],
)
def test_documents_that_make_no_sense_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ImageError, match=f"x: {said}"):
        parse_config(document(**changes), what="x")


NAMES = ["created", "author", "architecture", "os", "variant", "config", "rootfs", "history"]
SETTINGS = ["Env", "Entrypoint", "Cmd", "User", "WorkingDir", "ExposedPorts", "Volumes", "Healthcheck", "StopSignal", "Shell",
            "Labels", "Test", "Interval", "Retries", "diff_ids", "type", "created_by", "empty_layer"]  # fmt: skip
WORDS = st.sampled_from(["CMD", "NONE", "A=b", "/", "80", "15", "root", "layers", DIGEST]) | st.text(max_size=5)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(SETTINGS) | WORDS, inner, max_size=3),
    max_leaves=8,
)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@given(st.sampled_from(NAMES), st.sampled_from(SETTINGS), ANYTHING)
@example("author", "User", nested(400))
@settings(max_examples=500, deadline=None)
def test_any_document_is_read_as_it_would_be_written_or_is_an_image_error(name: str, setting: str, value: Any) -> None:
    for data in (document(**{name: value}), document(config={setting: value}), json.dumps({name: value}).encode()):
        try:
            parsed = parse_config(data)
        except ImageError:
            continue
        assert parse_config(parsed.as_bytes()) == parsed
