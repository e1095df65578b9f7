"""What can be asked of a sandbox: checked when made, and the same after its way over the wire."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxsandbox.conditions import File, Healthy, Http, Log, Port
from lxsandbox.errors import SpecError
from lxsandbox.spec import Bind, Limits, SandboxSpec, Tmpfs, field_names

BAD: Mapping[str, list[Any]] = {
    "image": ["", 5, None, "a\0b", "x" * 5000],
    "command": ["ls", b"ls", [], 5, [1], ["a\0b"], [None]],
    "entrypoint": ["ls", (), {"a": 1}, [["sh"]]],
    "env": ["A=b", ["A=b"], {"": "x"}, {"A=B": "x"}, {"A": 1}, {1: "x"}, {"A": "x\0"}, {"A\0": "x"}],
    "cwd": ["", "tmp", "./tmp", 5, "/a\0b", "/" + "x" * 5000],
    "user": ["", " root", "root ", True, 1.5, ["root"], "a\0", "a\nb", "x" * 300, -1],
    "hostname": ["", "-a", "a-", "a_b", "a..b", ".a", "x" * 65, 5, "a b", "a\n"],
    "name": ["", "-a", "a/b", "x" * 65, 5],
    "memory": ["", "lots", 0, -1, True, 1.5, "-5M", 2**63],
    "swap": ["", "lots", -1, True],
    "cpus": [0, -1, "1", True, float("nan"), float("inf"), 10**6],
    "pids": [0, -1, 1.5, "10", True, 10**9],
    "io": ["", 0, "fast"],
    "disk": ["", 0, "big"],
    "scratch": ["", "ram", None, True],
    "rlimits": ["nofile=5", {"nofiles": 5}, {"nofile": -1}, {"nofile": "5"}, {"nofile": True}, ["nofile"]],
    "timeout": [0, -1, "5", True, float("nan")],
    "network": ["", "none", None, 1],
    "networks": ["backend", ["a b"], [""], [5], ["a", "a"], ["x" * 65], 5, ["-a"], [f"n{n}" for n in range(33)]],
    "aliases": ["db", ["a_b"], [""], [5], ["-a"], ["a..b"], ["x" * 64], ["a\n"], 5, [f"n{n}" for n in range(65)]],
    "ports": ["80", 80, None, [0], [True], [b"80"], {80: 0}, {80: "80"}, {"80/sctp": None}, {53: None, "53/tcp": 5353}],
    "egress": ["example.org", 1, None, [5], ["a b"], ["localhost"], ["10.0.0.1/8"], ["example.org:0"]],
    "mounts": ["/tmp", [("/a", "/b")], ["/a:/b"], 5],
    "read_only": [1, "yes", None],
    "devices": ["/dev/null", ["null"], [5], ["/dev/../x"], ["/"]],
    "capabilities": ["SYS_ADMIN", ["+"], [5], ["SYS ADMIN"], {"plus": ["SYS_ADMIN"]}, 5, ["++CHOWN"]],
    "seccomp": ["", None, 5],
    "sysctls": ["a=b", {"a": 1}, {"": "1"}],
    "nesting": [1, "yes", None],
    "restart": ["", "yes", True, None, "always:2", "on-failure:0", 3],
    "labels": [["a"], {"a": 1}, {"a=b": "c"}],
    "ready": [5432, "5432", Port, True, [Port(1)], {"kind": "Port", "port": 1}],
}
CASES = [pytest.param(field, value, id=f"{field}-{index}") for field, values in BAD.items() for index, value in enumerate(values)]

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
names = st.from_regex(r"[A-Z_]{1,10}", fullmatch=True)
sizes = st.one_of(st.integers(1, 2**62), st.just("max"), st.just("64M"))
hosts = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
places = st.from_regex(r"(/[a-z0-9]{1,6}){1,4}", fullmatch=True)
mounts = st.one_of(
    st.builds(Bind, places, places, st.sampled_from(["ro", "rw", "copy"])),
    st.builds(Tmpfs, places, st.integers(1, 2**40)),
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "image": texts,
        "command": st.lists(texts, min_size=1, max_size=3),
        "env": st.dictionaries(names, texts, max_size=3),
        "cwd": places,
        "user": st.one_of(st.integers(0, 65535), hosts),
        "hostname": hosts,
        "memory": sizes,
        "swap": st.one_of(sizes, st.just(0)),
        "cpus": st.floats(0.01, 64),
        "pids": st.one_of(st.integers(1, 4096), st.just("max")),
        "disk": sizes,
        "rlimits": st.dictionaries(st.sampled_from(["nofile", "core"]), st.integers(0, 2**20)),
        "timeout": st.floats(0.1, 1e6),
        "networks": st.lists(hosts, max_size=2, unique=True),
        "ports": st.just(()),
        "egress": st.one_of(st.booleans(), st.lists(st.sampled_from(["example.org:443", "10.0.0.0/8", "*.x"]), max_size=2)),
        "mounts": st.lists(mounts, max_size=3),
        "capabilities": st.lists(st.sampled_from(["+SYS_PTRACE", "-CHOWN", "NET_RAW"]), max_size=2),
        "sysctls": st.just({"net.core.somaxconn": "10"}),
        "nesting": st.booleans(),
        "restart": st.sampled_from(["no", "always", "on-failure", "on-failure:3"]),
        "labels": st.dictionaries(names, texts, max_size=2),
        "ready": st.sampled_from([Port(1), Http(2, status=[204, 404]) | Log("x", count=3) & File("/a"), Healthy()]),
    },
)


@pytest.mark.parametrize(("field", "value"), CASES)
def test_a_bad_value_is_refused_by_the_name_of_its_field(field: str, value: Any) -> None:
    with pytest.raises(SpecError, match=field):
        SandboxSpec(**{field: value})


def test_every_field_has_bad_values_here() -> None:
    assert set(BAD) == set(field_names())


@given(specs)
def test_a_spec_is_the_same_after_its_way_over_the_wire(fields: dict[str, Any]) -> None:
    spec = SandboxSpec(**fields)

    back = SandboxSpec.from_json(json.loads(json.dumps(spec.as_json())))

    assert back.as_json() == spec.as_json()
    assert SandboxSpec.from_json(back.as_json()) == back


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SandboxSpec().memory = 5  # type: ignore[misc]


def test_sizes_are_bytes_once_the_spec_is_made() -> None:
    spec = SandboxSpec(memory="64M", disk="1K", swap=0, io="max")

    assert (spec.memory, spec.disk, spec.swap, spec.io) == (64 << 20, 1024, 0, "max")


def test_an_unknown_field_is_refused_with_the_fields_there_are() -> None:
    with pytest.raises(SpecError, match="no such field: memroy") as caught:
        SandboxSpec.from_fields({"memroy": "64M"})

    assert "memory" in caught.value.hint


def test_a_string_as_command_says_to_pass_a_list() -> None:
    with pytest.raises(SpecError) as caught:
        SandboxSpec(command="ls -l")

    assert "pass a list" in caught.value.hint


def test_capabilities_may_be_given_as_container_tools_write_them() -> None:
    spec = SandboxSpec(capabilities={"add": ["SYS_PTRACE"], "drop": ["CHOWN", "ALL"]})

    assert spec.capabilities == ["+SYS_PTRACE", "-CHOWN", "-ALL"]


@pytest.mark.parametrize("changes", [{"add": "SYS_PTRACE"}, {"add": None}, {"drop": [5]}, {"add": ["+CHOWN"]}, {"add": 5}])
def test_bad_names_in_such_a_mapping_are_refused_too(changes: Any) -> None:
    with pytest.raises(SpecError, match="capabilities"):
        SandboxSpec(capabilities=changes)


@pytest.mark.parametrize("src", ["", "a\0b", 5, "x" * 5000])
def test_a_bind_of_no_path_is_refused(src: Any) -> None:
    with pytest.raises(SpecError, match="Bind src"):
        Bind(src, "/mnt")


@pytest.mark.parametrize("dst", ["", "mnt", "/", "//", "/a/../b", "/..", "/.", 5, "/a\0"])
def test_a_mount_goes_to_an_absolute_path_below_the_root(dst: Any) -> None:
    with pytest.raises(SpecError, match="Bind dst"):
        Bind("/tmp", dst)
    with pytest.raises(SpecError, match="Tmpfs dst"):
        Tmpfs(dst)


def test_a_bind_mode_is_one_of_three() -> None:
    with pytest.raises(SpecError, match="mode='rx'"):
        Bind("/tmp", "/mnt", "rx")  # type: ignore[arg-type]


def test_a_relative_source_is_of_the_folder_where_it_was_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert Bind("data", "/mnt").src == Bind(Path("data"), "/mnt").src == str(tmp_path / "data")


def test_a_tmpfs_has_a_size_in_bytes() -> None:
    assert Tmpfs("/mnt", "1M").size == 1 << 20
    with pytest.raises(SpecError, match="Tmpfs size"):
        Tmpfs("/mnt", "huge")


@given(st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=3).map(tuple)), st.one_of(st.none(), st.integers(1)))
def test_limits_are_the_same_after_their_way_over_the_wire(cpuset: tuple[int, ...] | None, memory: int | None) -> None:
    limits = Limits(cpuset=cpuset, memory_bytes=memory)

    assert Limits.from_json(json.loads(json.dumps(limits.as_json()))) == limits
