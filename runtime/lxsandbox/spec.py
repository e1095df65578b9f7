"""What a sandbox should be: frozen values, checked when made, and their form on the wire.

Nothing here asks the host anything; no layer below checks these values again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast, get_args

from lxsandbox.egress import check_egress
from lxsandbox.errors import SpecError
from lxsandbox.image import Image
from lxsandbox.membership import HOST_NAME, check_aliases, network_names
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
        object.__setattr__(self, "src", os.path.abspath(_path(self.src, "Bind src")))
        _absolute(self.dst, "Bind dst")
        if self.mode not in get_args(BindMode):
            raise SpecError(f"Bind mode={self.mode!r} is unknown", hint='use "ro", "rw" or "copy"')


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """An empty file system in memory at `dst`, holding at most `size`; it counts towards the sandbox's memory."""

    dst: str
    size: int | str = "64M"

    def __post_init__(self) -> None:
        _absolute(self.dst, "Tmpfs dst")
        object.__setattr__(self, "size", parse_size(self.size, what="Tmpfs size"))


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxSpec:
    """Everything that can be asked of one sandbox. None means: as the image, the ini file or the default has it.

    Sizes (`memory swap disk io`) take bytes or text (`"256M"`, `"1.5GiB"`), and `"max"` for no bound. `io` is bytes a second,
    read and written each. `cpus` is a number of processors' worth of time, `timeout` seconds of wall time for the whole
    sandbox. `capabilities` adds and drops by name (`["+SYS_PTRACE", "-CHOWN"]`). `nesting` allows user namespaces and mounts
    inside. Each of `networks`, joined in this order, is an interface and an address; in there the sandbox is known by its
    `name`, its `hostname` and `aliases`. An `Image` given as `image` becomes its reference, and a `Network` its name. Raises
    SpecError when made with anything that makes no sense.
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
    egress: bool | Sequence[str] = False
    mounts: Sequence[Bind | Tmpfs] = ()
    read_only: bool = False
    devices: Sequence[str] = ()
    capabilities: Sequence[str] | Mapping[str, Sequence[str]] = ()
    seccomp: str = "default"
    sysctls: Mapping[str, str] = field(default_factory=dict[str, str])
    nesting: bool = False
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if isinstance(cast("object", self.image), Image):
            object.__setattr__(self, "image", str(self.image))
        for check in _CHECKS:
            check(self)

    def as_json(self) -> dict[str, Any]:
        """Plain data for the wire and for reports; `from_json` reads it back."""
        data: dict[str, Any] = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        data["mounts"] = [_mount_json(mount) for mount in self.mounts]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SandboxSpec:
        mounts = [Tmpfs(m["dst"], m["size"]) if "size" in m else Bind(m["src"], m["dst"], m["mode"]) for m in data["mounts"]]
        arguments: dict[str, Any] = {**data, "mounts": mounts}
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


def _path(value: Any, what: str) -> str:
    text: Any = os.fspath(cast("os.PathLike[str]", value)) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text or "\0" in text or len(text) > 4095:
        raise SpecError(f"{what}={value!r} is not a path", hint="a path is 1 to 4095 characters, with no NUL")
    return text


def _absolute(value: Any, what: str) -> None:
    text = _path(value, what)
    if not text.startswith("/") or ".." in text.split("/") or not text.strip("/."):
        raise SpecError(f"{what}={value!r} must be an absolute path below /, without '..'")


def _check_texts(spec: SandboxSpec) -> None:
    if not isinstance(spec.image, str) or not spec.image or "\0" in spec.image or len(spec.image) > 4096:
        raise SpecError(f"image={spec.image!r} is not an image reference", hint='write for example "host" or "tar:rootfs.tar.gz"')
    if spec.cwd is not None and not _path(spec.cwd, "cwd").startswith("/"):
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


def check_args(args: Any, *, what: str = "args") -> list[str]:
    """The argument list as text. Raises SpecError for a string (pass a list), an empty list, or a NUL inside."""
    if isinstance(args, str | bytes):
        raise SpecError(f"{what}={args!r} is a string", hint='pass a list, such as ["ls", "-l"]; for a shell, ["sh", "-c", "…"]')
    if not isinstance(args, Sequence) or not args:
        raise SpecError(f"{what}={args!r} is not a list of at least one argument", hint='pass a list, such as ["ls", "-l"]')
    texts = [_text(arg) for arg in list[Any](cast(Any, args))]
    for text in texts:
        if not isinstance(text, str) or "\0" in text:
            raise SpecError(f"{what} holds {text!r}", hint="each argument is text without NUL; convert numbers with str()")
    return texts


def _text(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        value = os.fspath(cast("os.PathLike[str]", value))
    return os.fsdecode(value) if isinstance(value, bytes) else value


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


def check_env(mapping: Any, *, what: str = "env") -> dict[str, str]:
    """The mapping as a dict. Raises SpecError for names or values that no environment can hold."""
    if not isinstance(mapping, Mapping):
        raise SpecError(f"{what}={mapping!r} is not a mapping", hint=f'write {what}={{"NAME": "value"}}')
    pairs = dict[Any, Any](cast(Any, mapping))
    for name, value in pairs.items():
        if not isinstance(name, str) or not isinstance(value, str) or not name or "=" in name or "\0" in name + value:
            raise SpecError(f"{what} holds {name!r}: {value!r}", hint="names and values are text without NUL; a name has no '='")
    return pairs


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
        _absolute(device, "devices")
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


_CHECKS = (
    _check_texts,
    _check_commands,
    _check_env,
    _check_numbers,
    _check_choices,
    _check_networks,
    _check_lists,
    _check_egress,
)
