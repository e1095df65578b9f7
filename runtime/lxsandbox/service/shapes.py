"""From a spec to what is done with it: the plan of its root, its limits, and what init is told when it may go.

Two specs of the same shape differ only in what can be applied to a sandbox that is built already: that is what a pool is for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lxsandbox.errors import HostUnsupported, SpecError
from lxsandbox.rootfs.host_image import SHADOW, shadow_text
from lxsandbox.rootfs.plan import HostFacts, ImageRoot, Plan, plan, sources
from lxsandbox.security import capabilities
from lxsandbox.service.facts import with_sources
from lxsandbox.service.layered import with_layers
from lxsandbox.spec import Limits, SandboxSpec
from lxsandbox.units import UNLIMITED

__all__ = ["Shape", "go_message", "limits_of", "shape_of"]

_DEFAULT_DISK_BYTES = 256 << 20
# What answers there is the hub (hub/names.py), where the sandbox is in a network; else nobody, which resolvers see at once.
_RESOLVER = "nameserver 127.0.0.11\noptions ndots:0\n"
_SHAPE_FIELDS = (
    *("image", "scratch", "disk", "network", "mounts", "read_only", "devices", "sysctls", "nesting"),
    *("hostname", "name", "capabilities", "seccomp"),
)
# Kernel parameters that belong to a namespace of the sandbox's own, see namespaces(7) and sysctl(5).
_NAMESPACED = ("net.", "fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a sandbox is built from. `key` is equal for specs that can share one pool."""

    key: str
    image: ImageRoot
    spec: SandboxSpec
    facts: HostFacts
    visible: Mapping[str, str]

    @property
    def own_network(self) -> bool:
        return self.spec.network == "isolated"

    def plan(self, name: str, scratch: str | None) -> Plan:
        """The plan for one sandbox of this shape, named `name`; `scratch` is its folder on disk, if it is to have one."""
        disk = self.spec.disk
        size = _DEFAULT_DISK_BYTES if disk is None else _total_memory() if disk == UNLIMITED else int(disk)
        files = _files(self.spec, self.image, self.hostname(name)) if self.image.is_host else []
        return plan(self.image, self.spec, self.facts, disk_bytes=size, visible=self.visible, files=files, scratch=scratch)

    def hostname(self, name: str) -> str:
        """The host name of a sandbox with the id `name`."""
        return self.spec.hostname or self.spec.name or name

    def confinement(self, name: str, made: Plan) -> dict[str, Any]:
        """What init makes of itself when its root, which `made` planned, stands; its host name is `name` by default."""
        spec = self.spec
        hostname = self.hostname(name)
        return {
            "hostname": hostname,
            "files": [] if self.image.is_host else _files(spec, self.image, hostname),
            "read_only": self._read_only(made),
            "capabilities": capabilities.mask(capabilities.resolve(list(spec.capabilities), nesting=spec.nesting)),
        }

    def _read_only(self, made: Plan) -> list[str]:
        """The mounts that a `read_only` spec has written to by nobody: the root, and what else shows files of the image."""
        if not self.spec.read_only:
            return []
        shown = [step["target"] for step in made.steps if step["do"] == "overlay" and "target" in step]
        own = {os.path.normpath(mount.dst) for mount in self.spec.mounts}
        return ["/", *(path for path in shown if path not in own)]


def shape_of(spec: SandboxSpec, image: ImageRoot, facts: HostFacts, visible: Mapping[str, str]) -> Shape:
    """The shape of a spec. Raises SpecError or HostUnsupported for what no root can be built from."""
    _check(spec, facts)
    try:
        known = with_sources(facts, sources(spec))
    except FileNotFoundError as error:
        raise SpecError(
            f"{error.filename} does not exist on this host", hint="a Bind's src and a device must exist before the sandbox starts"
        ) from error
    data = spec.as_json()
    if image.over_host and image.layers:
        known = with_layers(known, image.layers, os.path.realpath(image.store), visible)
    root = [image.layers, image.over_host, bool(spec.networks)]
    key = json.dumps([{name: data[name] for name in _SHAPE_FIELDS}, root, dict(visible)], sort_keys=True)
    return Shape(key, image, spec, known, visible)


def _check(spec: SandboxSpec, facts: HostFacts) -> None:
    for name in spec.sysctls:
        if not name.startswith(_NAMESPACED) or ".." in name or "/" in name:
            raise SpecError(
                f"sysctls={{{name!r}: …}} is not a sandbox's own",
                hint=f"only {', '.join(_NAMESPACED)}… can be set for one sandbox",
            )
        if name.startswith("net.") and spec.network == "host":
            raise SpecError(f"sysctls={{{name!r}: …}} would change the host's network", hint='use network="isolated"')
    if spec.scratch == "disk" and spec.disk not in (None, UNLIMITED):
        raise HostUnsupported(
            'disk= cannot be held with scratch="disk": a folder has no size limit',
            hint='leave disk= out, or use scratch="memory"',
            capability="disk-quota",
        )
    if facts.single_id and spec.user not in (None, "root", 0, "0"):
        raise HostUnsupported(
            f"user={spec.user!r} needs more ids than the one that this host maps for you",
            hint="install newuidmap (apt install uidmap) and give yourself a range in /etc/subuid and /etc/subgid",
            capability="sub-ids",
        )


def _total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def limits_of(spec: SandboxSpec, required: Collection[str], lacks: Mapping[str, str]) -> tuple[Limits, list[str]]:
    """The limits to hold, and the names of those defaults that this host cannot hold.

    Raises HostUnsupported for a limit among `required`, one that the user asked for, that the host cannot hold.
    """
    unheld: list[str] = []

    def held(name: str, value: Any) -> Any:
        if value is None or value == UNLIMITED:
            return None
        if name not in lacks:
            return value
        if name in required:
            raise HostUnsupported(
                f"{name}={value!r} cannot be held: {lacks[name]}",
                hint="`lxsandbox doctor` says more",
                capability=f"cgroup-{name}",
            )
        unheld.append(name)
        return None

    limits = Limits(
        memory_bytes=held("memory", spec.memory),
        # Swap is accounted apart from memory: without this, what should be OOM-killed swaps for minutes.
        swap_bytes=held("swap", 0 if spec.swap is None else spec.swap),
        cpus=held("cpus", spec.cpus),
        pids=held("pids", spec.pids),
        io_bytes_per_second=held("io", spec.io),
    )
    return limits, unheld


def go_message(spec: SandboxSpec, facts: HostFacts, env: Mapping[str, str]) -> dict[str, Any]:
    """What a parked init is told when it may go, apart from the descriptors. `env` is what the client gives."""
    main = [*(spec.entrypoint or ()), *(spec.command or ())]
    return {
        "op": "go",
        "rlimits": dict(spec.rlimits),
        "single_id": facts.single_id,
        "env": {**env, **spec.env},
        "cwd": spec.cwd or "/",
        "user": "0" if spec.user is None else str(spec.user),
        "main": main or None,
    }


def _files(spec: SandboxSpec, image: ImageRoot, hostname: str) -> list[tuple[str, str, int]]:
    names = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    if not spec.networks:  # there its name stands for the addresses that others reach it by, and the hub knows them
        names += f"127.0.1.1\t{hostname}\n"
    files = [("/etc/hostname", f"{hostname}\n", 0o644), ("/etc/hosts", names, 0o644)]
    own = spec.network == "isolated"
    files.append(("/etc/resolv.conf", _RESOLVER if own else _read("/etc/resolv.conf"), 0o644))
    if image.is_host:
        files.append((SHADOW, shadow_text(_read("/etc/passwd")), 0o640))
    return files


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
