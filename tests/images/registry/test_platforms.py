"""The image that runs here is chosen as containerd chooses it."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from lxsandbox.images.documents import INDEX_TYPE, MANIFEST_TYPE, Descriptor, Platform
from lxsandbox.images.registry.platforms import host_platform, suitable


def platform(text: str) -> Platform:
    system, architecture, variant = (*text.split("/"), "")[:3]
    return Platform(os=system, architecture=architecture, variant=variant)


def entry(text: str | None, *, media_type: str = MANIFEST_TYPE, note: str = "") -> Descriptor:
    return Descriptor(
        media_type=media_type,
        digest="sha256:" + "0" * 64,
        size=1,
        platform=None if text is None else platform(text),
        annotations={note: "x"} if note else {},
    )


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        ("linux/amd64", ["linux/386", "linux/amd64"], "linux/amd64"),
        ("linux/amd64", ["linux/386", "linux/arm64"], "linux/386"),
        ("linux/amd64", ["linux/amd64/v3"], None),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"),
        ("linux/amd64", ["linux/x86_64"], "linux/x86_64"),
        ("linux/amd64", ["windows/amd64"], None),
        ("linux/arm64", ["linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64/v8", ["linux/arm64"], "linux/arm64"),
        ("linux/arm64/v8", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm64/v8", ["linux/arm64/v9"], None),
        ("linux/arm64/v9", ["linux/arm64/v8", "linux/arm64/v8.5"], "linux/arm64/v8.5"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm64"], "linux/arm/v6"),
        ("linux/arm/v7", ["linux/arm"], "linux/arm"),
        ("linux/arm/v6", ["linux/arm/v7"], None),
        ("linux/arm/v8", ["linux/arm/v7"], "linux/arm/v7"),
        ("linux/s390x", ["linux/amd64", "linux/s390x"], "linux/s390x"),
        ("linux/riscv64", [], None),
    ],
)
def test_the_best_that_runs_is_chosen(wanted: str, there: list[str], chosen: str | None) -> None:
    found = suitable([entry(text) for text in there], platform(wanted))

    assert (found and found.platform) == (chosen and platform(chosen))


def test_attestations_are_no_images() -> None:
    entries = [entry("unknown/unknown"), entry("linux/amd64", note="vnd.docker.reference.type")]

    assert suitable(entries, platform("linux/amd64")) is None


def test_an_entry_without_a_platform_is_taken_where_none_fits() -> None:
    entries = [entry(None), entry("linux/arm64")]

    assert suitable(entries, platform("linux/arm64")) is entries[1]
    assert suitable(entries, platform("linux/s390x")) is entries[0]
    assert suitable([entry(None, media_type=INDEX_TYPE)], platform("linux/s390x")) is None


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64/v8"),
        ("armv7l", "linux/arm/v7"),
        ("i686", "linux/386"),
        ("ppc64le", "linux/ppc64le"),
        ("s390x", "linux/s390x"),
        ("riscv64", "linux/riscv64"),
    ],
)
def test_a_machine_is_called_as_go_calls_it(monkeypatch: pytest.MonkeyPatch, machine: str, name: str) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine))

    assert str(host_platform()) == name
