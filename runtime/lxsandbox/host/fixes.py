"""What follows from a lack, and the one thing to do about it: data, with the few facts of this host that a command needs.

A cause is a short word that an attempt gives (`attempts.py`); every cause that it can give has its fix here.
"""

from __future__ import annotations

import getpass
import os
import platform
import shutil
from pathlib import Path

__all__ = ["CONSEQUENCES", "FIXES", "consequence_of", "fix_of"]

CONSEQUENCES = {
    "user-namespaces": "no sandbox can start",
    "overlayfs": "no sandbox can have a root filesystem of its own",
    "tmpfs-xattr": "what a sandbox writes is kept on disk instead of in memory: starts are slower",
    "idmapped-mounts": "image `host` cannot be shown with its true owners, so root's sandboxes cannot use it",
    "sub-ids": "sandboxes map a single id: files of other owners show as nobody's, and `user=`, `useradd` and `su` fail inside",
    "proc-mount": "no sandbox can have a /proc of its own",
    "netns": "no sandbox can have a network of its own",
    "veth": "`networks=` is refused: sandboxes cannot be linked to each other",
    "bridge": "`networks=` is refused: sandboxes cannot be linked to each other",
    "nftables": "partition(), isolate() and shape(loss=…) are refused",
    "tbf": "shape(rate=…) is refused",
    "netem": "shape() refuses delay, jitter, duplicate, corrupt and reorder; loss and rate work without it",
    "time-namespace": "sandboxes see the host's boot and monotonic clocks",
    "seccomp": 'system calls cannot be filtered; sandboxes are refused unless `seccomp="unconfined"`',
    "pidfd": "processes cannot be held safely; no sandbox can start",
    "cgroup-memory": "`memory=` is refused, and a test can use up the host's memory",
    "cgroup-swap": "`swap=` is refused, and a test over its memory limit swaps before it is killed",
    "cgroup-pids": "`pids=` is refused, and a fork bomb hits the whole host",
    "cgroup-cpu": "`cpus=` is refused",
    "cgroup-io": "`io=` is refused",
    "cgroup-cpuset": "`dedicated_cpus=` is refused",
    "cgroup-freezer": "pause(), snapshot() and --sandbox-keep are refused",
    "clone-into-cgroup": "joining a cgroup takes a write for each sandbox: starts are up to 14 ms slower",
    "disk-kind": '`scratch="disk"` and snapshots cannot be overlays there: they are refused or copied in full',
    "egress": '`egress=` is refused: no sandbox reaches anything beyond this host but with network="host"',
}

_NEWER_KERNEL = "boot a kernel of {version} or newer (this is {kernel})"
_CONTAINER = "start this container with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined {more}`"

FIXES = {
    "userns-limit": "{sudo}sysctl -w user.max_user_namespaces=15000",
    "userns-switched-off": "{sudo}sysctl -w kernel.unprivileged_userns_clone=1",
    "userns-apparmor": "{sudo}sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    "userns-kernel": "boot a kernel built with CONFIG_USER_NS=y (this is {kernel})",
    "userns-container": _CONTAINER.replace("{more}", "--security-opt systempaths=unconfined"),
    "userns-refused": "{sudo}dmesg | tail -n 20   # says which security module refused it",
    "overlay-module": "{sudo}modprobe overlay",
    "overlay-broken": _NEWER_KERNEL.replace("{version}", "5.11"),
    "tmpfs-xattr-kernel": _NEWER_KERNEL.replace("{version}", "6.6"),
    "idmap-kernel": _NEWER_KERNEL.replace("{version}", "5.12"),
    "idmap-filesystem": "use another image than `host`, or have / on ext4, xfs or btrfs",
    "newuidmap-missing": "{install}{uidmap}",
    "subid-range-missing": "{sudo}usermod --add-subuids {range} --add-subgids {range} {user}",
    "newuidmap-refused": '{sudo}chmod u+s "$(command -v newuidmap)" "$(command -v newgidmap)"',
    "root-range-refused": "give this container a range of ids: `--userns=auto:size=65536`, or run it without a user namespace",
    "proc-overmounted": "start this container with `--security-opt systempaths=unconfined` (Kubernetes: `procMount: Unmasked`)",
    "netns-limit": "{sudo}sysctl -w user.max_net_namespaces=15000",
    "netns-kernel": "boot a kernel built with CONFIG_NET_NS=y (this is {kernel})",
    "veth-module": "{sudo}modprobe veth   # or boot a kernel built with CONFIG_VETH",
    "bridge-module": "{sudo}modprobe bridge   # or boot a kernel built with CONFIG_BRIDGE",
    "nftables-kernel": "{sudo}modprobe -a nf_tables nft_numgen   # or boot a kernel with CONFIG_NF_TABLES_BRIDGE, from 5.7 on",
    "tbf-kernel": "{sudo}modprobe sch_tbf   # or boot a kernel built with CONFIG_NET_SCH_TBF",
    "netem-kernel": "{sudo}modprobe sch_netem   # or boot a kernel built with CONFIG_NET_SCH_NETEM",
    "timens-kernel": _NEWER_KERNEL.replace("{version}", "5.6"),
    "libseccomp-missing": "{install}{libseccomp}",
    "seccomp-kernel": "boot a kernel built with CONFIG_SECCOMP_FILTER=y (this is {kernel})",
    "pidfd-kernel": _NEWER_KERNEL.replace("{version}", "5.3"),
    "pidfd-container": _CONTAINER.replace(" {more}", ""),
    "cgroup-unheld": "{sudo}mount -t cgroup2 none /sys/fs/cgroup",
    "clone-into-cgroup-v1": "boot with `systemd.unified_cgroup_hierarchy=1` on the kernel command line",
    "clone-into-cgroup-kernel": _NEWER_KERNEL.replace("{version}", "5.7"),
    "disk-no-upper": "export XDG_CACHE_HOME=/var/tmp/{user}   # or any folder on ext4, xfs or btrfs",
    "outlet-missing": "{install}{outlet}",
    "outlet-refused": "{install}{other_outlet}   # the one that is there does not work here",
    "tun-missing": "{sudo}modprobe tun",
    "tun-closed": "{sudo}chmod 0666 /dev/net/tun   # as udev has it by default",
    "nftables-missing": "{sudo}modprobe -a nf_tables nft_ct nft_masq nft_reject_inet",
    "too-slow": "lxsandbox doctor   # once more, on a machine that is less busy",
    "no-answer": "{python} -I -S -c 'import ctypes, json'   # must print nothing",
    "unknown": "{sudo}dmesg | tail -n 20   # the kernel often says there why it refused",
}

# The packages of the programs of `lxsandbox.outlet`; every package manager here calls them so.
_OUTLETS = ("slirp4netns", "passt")

# Package manager -> what installs, and the names of the two packages there.
_INSTALLERS = {
    "apt-get": ("apt-get install -y ", "uidmap", "libseccomp2"),
    "dnf": ("dnf install -y ", "shadow-utils", "libseccomp"),
    "zypper": ("zypper install -y ", "shadow", "libseccomp2"),
    "apk": ("apk add ", "shadow-uidmap", "libseccomp"),
    "pacman": ("pacman -S --noconfirm ", "shadow", "libseccomp"),
}


def consequence_of(name: str, cause: str) -> str:
    """What users lose without `name`; where nothing was learnt, that is said too."""
    prefix = "nothing is known; if it is missing, " if cause in {"too-slow", "no-answer"} else ""
    return prefix + CONSEQUENCES[name]


def fix_of(name: str, cause: str) -> str:
    """The one command, or the one change, that helps against `cause` on this host."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    install, uidmap, libseccomp = _installer()
    facts = {"sudo": sudo, "install": sudo + install, "uidmap": uidmap, "libseccomp": libseccomp}
    facts |= {"outlet": _OUTLETS[0], "other_outlet": _OUTLETS[1] if shutil.which(_OUTLETS[0]) else _OUTLETS[0]}
    facts |= {"kernel": platform.release(), "user": _user(), "range": _free_range(), "python": "python3", "name": name}
    return FIXES.get(cause, FIXES["unknown"]).format(**facts)


def _installer() -> tuple[str, str, str]:
    for program, names in _INSTALLERS.items():
        if shutil.which(program):
            return names
    return _INSTALLERS["apt-get"]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name
        return str(os.getuid())


def _free_range() -> str:
    """The first 65,536 ids behind all that /etc/subuid and /etc/subgid give away, as usermod(8) takes them."""
    ends = [99_999]
    for path in ("/etc/subuid", "/etc/subgid"):
        lines = Path(path).read_text(errors="replace").splitlines() if os.access(path, os.R_OK) else []
        for line in lines:
            _, _, numbers = line.partition(":")
            start, _, count = numbers.partition(":")
            if start.isdigit() and count.isdigit():
                ends.append(int(start) + int(count) - 1)
    return f"{max(ends) + 1}-{max(ends) + 65_536}"
