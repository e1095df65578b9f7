"""What a root is made of: from a spec and facts of the host to a list of trees and steps. Pure: asks the host nothing.

The trees are opened by the spawner, in the host's mount namespace; the steps are done by init (`apply`), in its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lxsandbox.rootfs.apply import DEV_OPTIONS
from lxsandbox.rootfs.host_plan import host_slices, host_whole, show_folders
from lxsandbox.security.masks import MASKED, READ_ONLY
from lxsandbox.spec import Bind, SandboxSpec, Tmpfs
from lxsandbox.syscalls.mounts import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY

__all__ = ["HostFacts", "ImageRoot", "Layered", "Plan", "Slice", "plan", "prepared_steps", "sources"]

_QUIET = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
_TTY_GROUP = 5  # the group tty of every Linux distribution, which grantpt(3) expects of a terminal
_BYTES_PER_INODE = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """One entry of the host's root as a plain user sees it; `kind` is `overlay`, `link` (to `target`), `folder` or `file`."""

    path: str
    kind: str
    target: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layered:
    """What the layers over the host's files have at one path.

    `kind` is `folder` (`parts`: those of the layers, uppermost first), `file` (the one of `parts`, with `mode` and `stamp`, its
    size and time), `link` (to `target`), or `absent`. `alone`: a folder that hides what the host has there.
    """

    kind: str
    parts: tuple[str, ...] = ()
    alone: bool = False
    target: str = ""
    mode: int = 0
    stamp: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostFacts:
    """What planning needs to know of the host; collected once a run, or made up by a test."""

    idmap: bool
    whole_root: bool
    single_id: bool
    existing: frozenset[str]
    folder_modes: Mapping[str, int] = field(default_factory=dict[str, int])
    submounts: tuple[str, ...] = ()
    slices: tuple[Slice, ...] = ()
    layered: Mapping[str, Layered] = field(default_factory=dict[str, Layered])  # of the image over the host's files


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRoot:
    """Where an image's files are: the host's own root, or layers (folders of `store`, uppermost first), or such `over_host`.

    `folders` are made where the image lacks them: its volumes, its working directory.
    """

    layers: tuple[str, ...] | None
    folders: tuple[str, ...] = ()
    over_host: bool = False
    store: str = ""

    @property
    def is_host(self) -> bool:
        """Whether the host's own files show in it."""
        return self.layers is None or self.over_host


@dataclass(slots=True)
class Plan:
    """Trees to open and steps to do, as they go over the wire."""

    trees: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    steps: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def tree(self, path: str, *, idmap: bool, recursive: bool = False, attributes: int = 0) -> int:
        """The index of a new tree over `path`."""
        self.trees.append({"path": path, "recursive": recursive, "attributes": attributes, "idmap": idmap})
        return len(self.trees) - 1

    def do(self, step: str, **arguments: Any) -> None:
        """Append a step: a name of `apply.STEPS`, and its arguments."""
        self.steps.append({"do": step, **arguments})


def plan(
    image: ImageRoot,
    spec: SandboxSpec,
    facts: HostFacts,
    *,
    disk_bytes: int,
    visible: Mapping[str, str],
    files: Sequence[tuple[str, str, int]] = (),
    scratch: str | None = None,
) -> Plan:
    """The plan for one sandbox.

    `files` (path, text, mode) stand in image `host` in place of its own. `disk_bytes` bounds what it may write. `visible` names
    folders of the host that image `host` would hide and this sandbox shall see, as `ro` or `copy`. `scratch` is a folder on
    disk for what it writes, instead of memory.
    """
    made = Plan()
    if scratch is None:
        made.do("work_in_memory", size=disk_bytes, inodes=_inodes(disk_bytes))
    else:
        made.do("work_in_tree", tree=made.tree(scratch, idmap=facts.idmap))
    if not image.is_host:
        made.do("overlay", lowers=[made.tree(layer, idmap=facts.idmap) for layer in image.layers or ()])
        made.do("folder", path="/tmp", mode=0o1777)
    elif facts.whole_root and not image.layers:
        host_whole(made, facts, files)
    else:
        host_slices(made, facts, files)
    for path in image.folders:
        made.do("have_folder", path=path)
    _kernel_file_systems(made, spec, facts)
    _places_in_memory(made, spec, disk_bytes, shared=scratch is None)
    if image.is_host:
        show_folders(made, facts, visible)
    for mount in spec.mounts:
        _user_mount(made, mount, facts)
    return made


def prepared_steps(facts: HostFacts) -> list[dict[str, Any]]:
    """What every root with a network of its own has at /proc, /sys and /dev, to be made before anything else is known."""
    made = Plan()
    _proc_and_sys(made, SandboxSpec(), facts)
    made.do("folder", path="/dev", mode=0o755)
    _devices(made, facts)
    return made.steps


def _kernel_file_systems(made: Plan, spec: SandboxSpec, facts: HostFacts) -> None:
    if spec.network == "isolated" and not spec.nesting and not spec.sysctls:
        for target in ("/proc", "/sys", "/dev"):
            made.do("adopt", target=target)
    else:
        _proc_and_sys(made, spec, facts)
        made.do("mount", kind="tmpfs", target="/dev", options=DEV_OPTIONS, attributes=MOUNT_ATTR_NOSUID)
        _devices(made, facts)
    for device in spec.devices:
        made.do("bind_own", source=device, target=device)


def _places_in_memory(made: Plan, spec: SandboxSpec, size: int, *, shared: bool) -> None:
    """What is writable and in memory whatever the root is: together within what the sandbox may write, or `size` each."""
    places = [("/dev/shm", 0o1777, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)]
    if spec.read_only:
        places += [("/tmp", 0o1777, _QUIET), ("/run", 0o755, _QUIET)]
    for target, mode, attributes in places:
        if shared:
            name = target.strip("/").replace("/", "-")
            made.do("show_work", name=name, mode=mode, target=target, attributes=attributes)
        else:
            made.do("mount", kind="tmpfs", target=target, options=_in_memory(size, f"{mode:o}"), attributes=attributes)


def _proc_and_sys(made: Plan, spec: SandboxSpec, facts: HostFacts) -> None:
    made.do("mount", kind="proc", target="/proc", attributes=_QUIET)
    if spec.network == "isolated":
        made.do("mount", kind="sysfs", target="/sys", attributes=_QUIET | MOUNT_ATTR_RDONLY)
    else:
        # mount_namespaces(7): a new sysfs needs a network namespace of one's own.
        made.do("bind_own", source="/sys", target="/sys", recursive=True, attributes=_QUIET | MOUNT_ATTR_RDONLY)
    for name, value in spec.sysctls.items():
        made.do("sysctl", name=name, value=value)
    if not spec.nesting:
        # With masks, a nested user namespace could mount no fresh proc ("mount too revealing").
        for path in MASKED:
            if path in facts.existing:
                made.do("mask", path=path)
        for path in READ_ONLY:
            if path in facts.existing:
                made.do("protect", path=path)


def _devices(made: Plan, facts: HostFacts) -> None:
    for name in _DEVICES:
        made.do("bind_own", source=f"/dev/{name}", target=f"/dev/{name}")
    for name, target in _DEVICE_LINKS.items():
        made.do("link", path=f"/dev/{name}", target=target)
    group = [] if facts.single_id else [("gid", str(_TTY_GROUP))]
    terminals = [("ptmxmode", "0666"), ("mode", "0620"), *group]
    made.do("mount", kind="devpts", target="/dev/pts", options=terminals, attributes=MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)
    made.do("mount", kind="mqueue", target="/dev/mqueue", attributes=_QUIET)
    made.do("folder", path="/dev/shm", mode=0o1777)


def _user_mount(made: Plan, mount: Bind | Tmpfs, facts: HostFacts) -> None:
    if isinstance(mount, Tmpfs):
        options = _in_memory(int(mount.size), "1777")
        made.do("mount", kind="tmpfs", target=mount.dst, options=options, attributes=MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
        return
    source = os.fspath(mount.src)
    folder = f"{source}/" in facts.existing
    if mount.mode == "copy":
        step = "overlay" if folder else "copy_file"
        tree = made.tree(source, idmap=facts.idmap)
        made.do(step, target=mount.dst, **({"lowers": [tree]} if folder else {"tree": tree}))
        return
    attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (MOUNT_ATTR_RDONLY if mount.mode == "ro" else 0)
    tree = made.tree(source, idmap=facts.idmap, recursive=True, attributes=attributes)
    made.do("bind", tree=tree, target=mount.dst, folder=folder)


def sources(spec: SandboxSpec) -> Sequence[str]:
    """The paths of the host that the spec's mounts and devices name."""
    return [*(os.fspath(mount.src) for mount in spec.mounts if isinstance(mount, Bind)), *spec.devices]


def _inodes(size: int) -> int:
    # tmpfs(5) allows half as many as the host has pages, and each takes kernel memory that no size bounds.
    return max(1024, size // _BYTES_PER_INODE)


def _in_memory(size: int, mode: str) -> list[tuple[str, str]]:
    """The options of a tmpfs that holds `size` bytes."""
    return [("size", str(size)), ("nr_inodes", str(_inodes(size))), ("mode", mode)]
