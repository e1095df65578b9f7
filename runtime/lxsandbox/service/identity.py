"""The ids of the host that a run's sandboxes use: which range, and how a plain user gets it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass

from lxsandbox.errors import HostUnsupported

__all__ = ["Mapping", "choose_mapping", "map_process"]

_IDS = 65536  # what images take for granted: 0 to 65534 and nobody's groups
# As root without a range in /etc/subuid: far above the ids that distributions, systemd and podman hand out.
_ROOT_BASE = 2_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Mapping:
    """How ids inside relate to ids outside. `spawner_map` is for the spawner's own namespace (plain users only).

    `sandbox_map` is what the spawner writes for each sandbox, in the ids that it sees itself. `lack` says why it is a single id.
    """

    kind: str  # "range" or "single"
    sandbox_map: str
    spawner_uids: tuple[tuple[int, int, int], ...] = ()
    spawner_gids: tuple[tuple[int, int, int], ...] = ()
    lack: str = ""

    @property
    def single(self) -> bool:
        return self.kind == "single"


def choose_mapping() -> Mapping:
    """The mapping for this user on this host."""
    if os.geteuid() == 0 and _may_map_anything():
        base = _subordinate("/etc/subuid", "root", 0)
        return Mapping(kind="range", sandbox_map=f"0 {base[0] if base else _ROOT_BASE} {_IDS}\n")
    return _plain_user_mapping()


def _may_map_anything() -> bool:
    # Root of a user namespace that maps less than everything (a rootless container) is a plain user for this purpose.
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split()[:3] == ["0", "0", "4294967295"]


def _plain_user_mapping() -> Mapping:
    uid, gid = os.geteuid(), os.getegid()
    name = _user_name(uid)
    uids, gids = _subordinate("/etc/subuid", name, uid), _subordinate("/etc/subgid", name, uid)
    lack = ""
    if shutil.which("newuidmap") is None or shutil.which("newgidmap") is None:
        lack = "newuidmap is not installed: install it (apt install uidmap)"
    elif uids is None or gids is None:
        fix = f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"
        lack = f"no range of {_IDS} ids for {name} in /etc/subuid and /etc/subgid: run `{fix}`"
    if lack or uids is None or gids is None:
        return Mapping(kind="single", sandbox_map="0 0 1\n", spawner_uids=((0, uid, 1),), spawner_gids=((0, gid, 1),), lack=lack)
    return Mapping(
        kind="range",
        # user_namespaces(7): a line must lie within one line of the parent's map.
        sandbox_map=f"0 0 1\n1 1 {_IDS - 1}\n",
        spawner_uids=((0, uid, 1), (1, uids[0], _IDS - 1)),
        spawner_gids=((0, gid, 1), (1, gids[0], _IDS - 1)),
    )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _subordinate(path: str, name: str, uid: int) -> tuple[int, int] | None:
    """The first large enough range of the user in a subuid(5) file, as (start, count)."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip().split(":") for line in file]
    except OSError:
        return None
    for line in lines:
        if len(line) == 3 and line[0] in (name, str(uid)) and line[1].isdigit() and line[2].isdigit() and int(line[2]) >= _IDS:
            return int(line[1]), int(line[2])
    return None


def map_process(pid: int, mapping: Mapping) -> None:
    """Give the new user namespace that process `pid` is in its ids, from outside of it. Raises HostUnsupported."""
    if mapping.single:
        _write(pid, "setgroups", "deny")
        _write(pid, "uid_map", _lines(mapping.spawner_uids))
        _write(pid, "gid_map", _lines(mapping.spawner_gids))
        return
    for tool, ranges in (("newuidmap", mapping.spawner_uids), ("newgidmap", mapping.spawner_gids)):
        numbers = [str(number) for each in ranges for number in each]
        done = subprocess.run([tool, str(pid), *numbers], capture_output=True, text=True, check=False, timeout=30)
        if done.returncode:
            raise HostUnsupported(
                f"{tool} refused the mapping: {done.stderr.strip()}",
                hint="check /etc/subuid and /etc/subgid, and that newuidmap is setuid root",
                capability="sub-ids",
            )


def _write(pid: int, name: str, text: str) -> None:
    with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
        file.write(text)


def _lines(ranges: tuple[tuple[int, int, int], ...]) -> str:
    return "".join(f"{inside} {outside} {count}\n" for inside, outside, count in ranges)
