"""What the machine says of itself: where control groups are mounted, where this process is in them, its disks and its swap.

Only reads. Every root is a field, so that a folder of text files can stand for a machine that one does not have.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["CgroupMount", "Machine"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CgroupMount:
    """One mounted hierarchy; `root` is the group that `folder` shows. The unified one (cgroup2) has no `controllers` here."""

    folder: str
    root: str
    unified: bool
    controllers: frozenset[str]

    def folder_of(self, group: str) -> str | None:
        """The folder of a group by its path in the hierarchy; None when it is outside of what is mounted."""
        root = "" if self.root == "/" else self.root
        if "/.." in group or (group != root and not group.startswith(root + "/")):
            return None
        return (self.folder + group[len(root) :]).rstrip("/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """This machine, or a folder of fakes."""

    proc: str = "/proc"
    sys: str = "/sys"
    pid: int = field(default_factory=os.getpid)
    uid: int = field(default_factory=os.geteuid)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    make_folder: Callable[[str], None] = os.mkdir

    def mounts(self) -> list[CgroupMount]:
        """All mounted hierarchies, known by the type of the file system and never by the name of the folder."""
        parsed = (_parse_mount(line) for line in self._text("proc", "self/mountinfo").splitlines())
        return [mount for mount in parsed if mount is not None]

    def own_groups(self) -> dict[str, str]:
        """The group of this process by controller; the unified one under ``""``. Source: cgroups(7), /proc/PID/cgroup."""
        found: dict[str, str] = {}
        for line in self._text("proc", "self/cgroup").splitlines():
            _, controllers, group = line.split(":", 2)
            found.update(dict.fromkeys(controllers.split(","), group))
        return found

    def own_folder(self, controller: str) -> str | None:
        """The folder of this process's group for a v1 controller, or of its unified group (``""``); None where there is none."""
        group = self.own_groups().get(controller)
        if group is None:
            return None
        for mount in self.mounts():
            if controller in mount.controllers or (mount.unified and not controller):
                folder = mount.folder_of(group)
                if folder is not None and os.path.isdir(folder):
                    return folder
        return None

    def has_swap(self) -> bool:
        """Whether anything can be swapped out on this machine at all."""
        return len(self._text("proc", "swaps").splitlines()) > 1

    def disks(self) -> list[str]:
        """`major:minor` of every whole block device that holds something; partitions cannot be throttled by themselves."""
        return [self._device(name) for name in self._block_devices() if self._text("sys", f"block/{name}/size").strip() != "0"]

    def stacked_disks(self) -> frozenset[str]:
        """Those made of other disks (dm, md): what passes them passes the others too, and would be counted twice."""
        return frozenset(self._device(name) for name in self._block_devices() if self._is_stacked(name))

    def describe_process(self, pid: int) -> str:
        """`pid 12 (cat), state D, waiting in ext4_sync`, as far as one may know."""
        name = self._text("proc", f"{pid}/comm").strip() or "gone"
        state = re.search(r"^State:\s+(\S)", self._text("proc", f"{pid}/status"), re.MULTILINE)
        waiting = self._text("proc", f"{pid}/wchan").strip()  # 0 while it runs, and to those who may not know
        return f"pid {pid} ({name}), state {state[1] if state else '?'}, waiting in {waiting.strip('0') or '?'}"

    def _block_devices(self) -> list[str]:
        try:
            return sorted(os.listdir(f"{self.sys}/block"))
        except OSError:  # masked, as in many containers
            return []

    def _is_stacked(self, name: str) -> bool:
        folder = f"{self.sys}/block/{name}/slaves"
        return os.path.isdir(folder) and bool(os.listdir(folder))

    def _device(self, name: str) -> str:
        return self._text("sys", f"block/{name}/dev").strip()

    def _text(self, root: str, name: str) -> str:
        try:
            with open(f"{self.proc if root == 'proc' else self.sys}/{name}", encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except OSError:
            return ""


def _parse_mount(line: str) -> CgroupMount | None:
    """One line of /proc/PID/mountinfo, see proc_pid_mountinfo(5); None when it is no control group's."""
    before, _, after = line.partition(" - ")
    kind, _, options = after.partition(" ")
    if kind not in ("cgroup", "cgroup2"):
        return None
    root, folder = (re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), word) for word in before.split(" ")[3:5])
    controllers = frozenset(options.split(" ")[-1].split(",")) - {"rw", "ro"} if kind == "cgroup" else frozenset[str]()
    return CgroupMount(folder=folder, root=root, unified=kind == "cgroup2", controllers=controllers)
