"""What a sandbox should be: frozen values, checked when made, and their form on the wire.

Nothing here asks the host anything; no layer below checks these values again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast, get_args

from lxsandbox.arguments import check_absolute, check_args, check_env, check_path
from lxsandbox.conditions import Condition, check_condition, condition_from_json
from lxsandbox.egress import check_egress
from lxsandbox.errors import SpecError
from lxsandbox.image import Image
from lxsandbox.membership import HOST_NAME, check_aliases, network_names
from lxsandbox.ports import parse_ports
from lxsandbox.restarts import RestartPolicy
from lxsandbox.units import UNLIMITED, parse_size

__all__ = ["Bind", "Limits", "SandboxSpec", "Tmpfs", "field_names"]

BindMode = Literal["ro", "rw", "copy"]
_RLIMITS = frozenset({"core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "stack"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Upper bounds for everything in the sandbox together; None leaves one unbounded."""

    memory_bytes: int | None = None
    swap_bytes: int | None = 0
    cpus: float | None = None
    pids: int | None = None
    io_bytes_per_second: int | None = None
    cpuset: tuple[int, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Limits:
        cpuset = data.get("cpuset")
        arguments: dict[str, Any] = {**data, "cpuset": None if cpuset is None else tuple(cpuset)}
        return cls(**arguments)


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host shown at `dst`: `ro` (default), `rw`, or `copy` (copy-on-write)."""

    src: str | os.PathLike[str]
    dst: str
    mode: BindMode = "ro"

    def __post_init__(self) -> None:
        object.__setattr__(self, "src", os.path.abspath(check_path(self.src, "Bind src")))
        check_absolute(self.dst, "Bind dst")
        if self.mode not in get_args(BindMode):
            raise SpecError(f"Bind mode={self.mode!r} is unknown", hint='use "ro", "rw" or "copy"')


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """An empty file system in memory at `dst`, holding at most `size`; it counts towards the sandbox's memory."""

    dst: str
    size: int | str = "64M"

    def __post_init__(self) -> None:
        check_absolute(self.dst, "Tmpfs dst")
        object.__setattr__(self, "size", parse_size(self.size, what="Tmpfs size"))


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxSpec:
    """Everything that can be asked of one sandbox. None means: as the image, the ini file or the default has it.

    Sizes (`memory swap disk io`) take bytes or text (`"256M"`, `"1.5GiB"`), and `"max"` for no bound. `io` is bytes a second,
    read and written each. `cpus` is a number of processors' worth of time, `timeout` seconds of wall time for the whole
    sandbox. `capabilities` adds and drops by name (`["+SYS_PTRACE", "-CHOWN"]`). `nesting` allows user namespaces and mounts
    inside. Each of `networks`, joined in this order, is an interface and an address; in there the sandbox is known by its
    `name`, its `hostname` and `aliases`. `egress` is what it may reach beyond: nothing (False), what is listed
    (`["example.org:443", "10.0.0.0/8"]`), or everything but the host's loopback (True). `ports` are those of the sandbox, or
    unix sockets in it, with the port of 127.0.0.1 where each is to be had (None: a free one): `{8080: 80, "53/udp": None,
    "/run/it.sock": 9000}`. `restart` is what happens when the main command has ended: "no" (default: the sandbox ends with
    it), "on-failure", "on-failure:N" (N restarts at most) or "always". `ready` is a condition such as `Port(5432)`: a start
    returns when it holds, and fails with NotReady when it does not within 30 seconds. An `Image` given as `image` becomes its
    reference, and a `Network` its name. Raises SpecError when made with anything that makes no sense.
    """

    image: str = "host"
    command: Sequence[str] | None = None
    entrypoint: Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: str | None = None
    user: str | int | None = None
    hostname: str | None = None
    name: str | None = None
    memory: int | str | None = None
    swap: int | str | None = None
    cpus: float | None = None
    pids: int | str | None = None
    io: int | str | None = None
    disk: int | str | None = None
    scratch: Literal["memory", "disk"] = "memory"
    rlimits: Mapping[str, int] = field(default_factory=dict[str, int])
    timeout: float | None = None
    network: Literal["isolated", "host"] = "isolated"
    networks: Sequence[str] = ()
    aliases: Sequence[str] = ()
    ports: Mapping[int | str, int | None] | Sequence[int | str] = field(default_factory=dict[int | str, int | None])
    egress: bool | Sequence[str] = False
    mounts: Sequence[Bind | Tmpfs] = ()
    read_only: bool = False
    devices: Sequence[str] = ()
    capabilities: Sequence[str] | Mapping[str, Sequence[str]] = ()
    seccomp: str = "default"
    sysctls: Mapping[str, str] = field(default_factory=dict[str, str])
    nesting: bool = False
    restart: str = "no"
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    ready: Condition | None = None

    def __post_init__(self) -> None:
        if isinstance(cast("object", self.image), Image):
            object.__setattr__(self, "image", str(self.image))
        for check in _CHECKS:
            check(self)

    def as_json(self) -> dict[str, Any]:
        """Plain data for the wire and for reports; `from_json` reads it back."""
        data: dict[str, Any] = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        data["mounts"] = [_mount_json(mount) for mount in self.mounts]
        data["ready"] = None if self.ready is None else self.ready.as_json()
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SandboxSpec:
        mounts = [Tmpfs(m["dst"], m["size"]) if "size" in m else Bind(m["src"], m["dst"], m["mode"]) for m in data["mounts"]]
        ready = data.get("ready")
        condition = None if ready is None else condition_from_json(ready)
        arguments: dict[str, Any] = {**data, "mounts": mounts, "ready": condition}
        return cls(**arguments)

    @classmethod
    def from_fields(cls, given: Mapping[str, Any]) -> SandboxSpec:
        """The same as calling the class, but an unknown field is a SpecError that lists the fields there are."""
        unknown = sorted(set(given) - set(field_names()))
        if unknown:
            raise SpecError(f"no such field: {', '.join(unknown)}", hint=f"the fields are {', '.join(field_names())}")
        return cls(**given)


def field_names() -> tuple[str, ...]:
    """The names of all fields of SandboxSpec, in the order of its definition."""
    return tuple(f.name for f in fields(SandboxSpec))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list[Any](cast(Any, value))
    return value


def _mount_json(mount: Bind | Tmpfs) -> dict[str, Any]:
    return {f.name: getattr(mount, f.name) for f in fields(mount)}


def _check_texts(spec: SandboxSpec) -> None:
    if not isinstance(spec.image, str) or not spec.image or "\0" in spec.image or len(spec.image) > 4096:
        raise SpecError(f"image={spec.image!r} is not an image reference", hint='write for example "host" or "tar:rootfs.tar.gz"')
    if spec.cwd is not None and not check_path(spec.cwd, "cwd").startswith("/"):
        raise SpecError(f"cwd={spec.cwd!r} must be an absolute path in the sandbox")
    for what, name in (("hostname", spec.hostname), ("name", spec.name)):
        if name is not None and (not isinstance(name, str) or len(name) > 64 or not HOST_NAME.fullmatch(name)):
            raise SpecError(
                f"{what}={name!r} is not a host name", hint="letters, digits, '-' and '.', 64 at most, see hostname(7)"
            )
    if spec.user is not None and (
        isinstance(spec.user, bool)
        or not isinstance(spec.user, str | int)
        or str(spec.user).strip() != str(spec.user)
        or (isinstance(spec.user, int) and spec.user < 0)
    ):
        raise SpecError(f"user={spec.user!r} is not a user", hint='write a name, a uid, or "user:group"')
    if isinstance(spec.user, str) and (not spec.user or "\0" in spec.user or "\n" in spec.user or len(spec.user) > 256):
        raise SpecError(f"user={spec.user[:40]!r} is not a user", hint='write a name, a uid, or "user:group"')


def _check_commands(spec: SandboxSpec) -> None:
    for what, args in (("command", spec.command), ("entrypoint", spec.entrypoint)):
        if args is not None:
            check_args(args, what=what)


def _check_env(spec: SandboxSpec) -> None:
    for what, mapping in (("env", spec.env), ("sysctls", spec.sysctls), ("labels", spec.labels)):
        check_env(mapping, what=what)
    if not isinstance(spec.rlimits, Mapping):
        raise SpecError(f"rlimits={spec.rlimits!r} is not a mapping", hint='write rlimits={"nofile": 1024}')
    for name, value in spec.rlimits.items():
        if name not in _RLIMITS or isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise SpecError(
                f"rlimits={{{name!r}: {value!r}}} is unknown",
                hint=f"the names are {', '.join(sorted(_RLIMITS))}, the values whole numbers",
            )


def _check_numbers(spec: SandboxSpec) -> None:
    for what in ("memory", "swap", "io", "disk"):
        value = getattr(spec, what)
        if value is not None and value != UNLIMITED and not (what == "swap" and value == 0):
            object.__setattr__(spec, what, parse_size(value, what=what))
    if spec.pids is not None and spec.pids != UNLIMITED:
        _number(spec.pids, "pids", whole=True, at_most=4_194_304)
    if spec.cpus is not None:
        _number(spec.cpus, "cpus", whole=False, at_most=8192)
    if spec.timeout is not None:
        _number(spec.timeout, "timeout", whole=False, at_most=10**8)


def _number(value: Any, what: str, *, whole: bool, at_most: int) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value <= at_most:
        raise SpecError(f"{what}={value!r} is not a {'whole ' if whole else ''}number above 0, {at_most} at most")


def _check_choices(spec: SandboxSpec) -> None:
    for what, choices in (("network", ("isolated", "host")), ("scratch", ("memory", "disk"))):
        if getattr(spec, what) not in choices:
            raise SpecError(f"{what}={getattr(spec, what)!r} is unknown", hint=f"choose from {', '.join(choices)}")
    for what in ("read_only", "nesting"):
        if not isinstance(getattr(spec, what), bool):
            raise SpecError(f"{what}={getattr(spec, what)!r} is neither True nor False")
    if not isinstance(spec.seccomp, str) or not spec.seccomp:
        raise SpecError(f"seccomp={spec.seccomp!r} is unknown", hint='use "default", "unconfined", or the path of a profile')


def _check_restart(spec: SandboxSpec) -> None:
    RestartPolicy.parse(spec.restart)


def _check_ready(spec: SandboxSpec) -> None:
    if spec.ready is not None:
        check_condition(spec.ready, what="ready")


def _check_networks(spec: SandboxSpec) -> None:
    object.__setattr__(spec, "networks", network_names(spec.networks))
    object.__setattr__(spec, "aliases", check_aliases(spec.aliases))
    if spec.network == "host" and (spec.networks or spec.aliases):
        raise SpecError('network="host" goes with no networks= and no aliases=', hint="leave one of them out")
    if spec.aliases and not spec.networks:
        raise SpecError("aliases= are names in networks, and there are no networks=", hint="name the networks that it joins")


def _check_lists(spec: SandboxSpec) -> None:
    if isinstance(spec.capabilities, Mapping):
        object.__setattr__(spec, "capabilities", _capability_list(spec.capabilities))
    for what in ("mounts", "devices", "capabilities"):
        if isinstance(getattr(spec, what), str) or not isinstance(getattr(spec, what), Sequence):
            raise SpecError(f"{what}={getattr(spec, what)!r} is not a list")
    for mount in spec.mounts:
        if not isinstance(mount, Bind | Tmpfs):
            raise SpecError(f"mounts holds {mount!r}", hint="each is a Bind(src, dst) or a Tmpfs(dst)")
    for device in spec.devices:
        check_absolute(device, "devices")
    for change in spec.capabilities:
        if not isinstance(change, str) or not re.fullmatch(r"[+-]?[A-Za-z_]{3,}", change):
            raise SpecError(
                f"capabilities holds {change!r}", hint='write "+NAME" to add and "-NAME" to drop, see capabilities(7)'
            )


def _check_egress(spec: SandboxSpec) -> None:
    check_egress(spec.egress, spec.network)


def _capability_list(changes: Mapping[str, Any]) -> list[str]:
    """`{"add": [...], "drop": [...]}`, as container tools write it, in the form of a list."""
    lists = (changes.get("add", []), changes.get("drop", []))
    if set(changes) - {"add", "drop"} or not all(isinstance(names, list | tuple) for names in lists):
        raise SpecError(f"capabilities={dict(changes)!r} is unknown", hint='write {"add": ["NAME"], "drop": ["NAME"]}')
    return [f"+{name}" for name in lists[0]] + [f"-{name}" for name in lists[1]]


def _check_ports(spec: SandboxSpec) -> None:
    object.__setattr__(spec, "ports", parse_ports(spec.ports))
    if spec.network == "host" and spec.ports:
        raise SpecError("with network='host' its ports are those of the host", hint="leave ports= out")


_CHECKS = (
    *(_check_texts, _check_commands, _check_env, _check_numbers, _check_choices, _check_networks),
    *(_check_restart, _check_lists, _check_ready, _check_ports, _check_egress),
)
