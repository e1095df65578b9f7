"""Image `host`: what of the host's own root is shown, what is hidden, and what is replaced.

A convenience, not reproducible. Root inside reads every file that its mapping shows as root's, so no secret may be there.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable

__all__ = [
    "HIDDEN_FOLDERS", "KEPT_FOLDERS", "SECRET_FILES", "SHADOW", "all_submounts", "hidden", "is_fresh", "real_submounts",
    "shadow_text", "slices",
]  # fmt: skip

# Folders (relative to /) that are not to be seen, with their mode: fresh ones, homes, and where system services keep keys.
HIDDEN_FOLDERS = {
    "tmp": "1777",
    "run": "755",
    "var/tmp": "1777",
    "root": "700",
    "home": "755",
    "etc/ssl/private": "700",
    "etc/letsencrypt": "700",
    "etc/wireguard": "700",
    "etc/openvpn": "755",
    "etc/kubernetes": "755",
    "etc/NetworkManager/system-connections": "755",
    "etc/sudoers.d": "750",
    "var/backups": "755",
    "var/spool/cron": "755",
    "var/lib/docker": "711",
    "var/lib/containerd": "711",
    "var/lib/containers": "755",
    "var/lib/kubelet": "755",
    "var/lib/private": "700",
    "var/lib/sss": "755",
}  # fmt: skip
# Of these, the ones that programs expect to be there: they are empty inside, the others absent.
KEPT_FOLDERS = frozenset(("tmp", "run", "var/tmp", "root", "home"))
SECRET_FILES = (
    "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/security/opasswd", "/etc/krb5.keytab", "/etc/sudoers",
    "/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_dsa_key",
    "/var/lib/systemd/random-seed", "/.dockerenv",
)  # fmt: skip
SHADOW = "/etc/shadow"  # replaced by one in which nobody has a password
_FRESH = ("/proc", "/sys", "/dev")
_PSEUDO_KINDS = frozenset(
    (
        *("proc", "sysfs", "devtmpfs", "tmpfs", "ramfs", "devpts", "cgroup", "cgroup2", "mqueue", "debugfs", "tracefs"),
        *("securityfs", "pstore", "bpf", "configfs", "fusectl", "hugetlbfs", "binfmt_misc", "autofs", "rpc_pipefs"),
        *("efivarfs", "nsfs", "selinuxfs", "overlay", "squashfs"),
    )
)
_NOT_SHOWN = ("/boot", "/snap", "/var/lib/docker", "/var/lib/containers", "/var/lib/containerd", "/var/lib/kubelet")


def hidden(path: str) -> bool:
    """Whether the host's `path` is not to be seen inside unless it is shown by name."""
    return any(_within(path, f"/{folder}") for folder in HIDDEN_FOLDERS) or is_fresh(path)


def is_fresh(path: str) -> bool:
    """Whether it is of the kernel's own file systems, which every sandbox has anew."""
    return any(_within(path, fresh) for fresh in _FRESH)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def real_submounts(mountinfo: str) -> list[str]:
    """The mount points below / that hold files of the system (such as a /usr on its own disk), outer ones first.

    `mountinfo` is the text of /proc/self/mountinfo, see proc_pid_mountinfo(5).
    """
    found: set[str] = set()
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point, kind = _unescape(left.split(" ")[4]), right.split(" ")[0]
        if point != "/" and kind not in _PSEUDO_KINDS and not hidden(point) and not any(_within(point, p) for p in _NOT_SHOWN):
            found.add(point)
    return sorted(found)


def all_submounts(mountinfo: str) -> list[str]:
    """Every mount point of the host."""
    return [_unescape(line.split(" ")[4]) for line in mountinfo.splitlines()]


def _unescape(text: str) -> str:
    # mountinfo writes space, tab, newline and backslash as a backslash and three octal digits.
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def slices(root: str, mount_points: Iterable[str]) -> list[tuple[str, str, str]]:
    """What a plain user's sandbox shows of the host's root, as (path, kind, target).

    An overlay of / itself is refused to a plain user by the kernel (it would uncover what mounts on it hide), and so is one of
    any folder with mounts below: such folders are gone into. Kinds are `overlay`, `link`, `file`, `folder`.
    """
    points = sorted(mount_points)
    found: list[tuple[str, str, str]] = []
    _slice(root, "", points, found)
    return found


def _slice(root: str, folder: str, points: list[str], found: list[tuple[str, str, str]]) -> None:
    for name in sorted(_names(root + folder)):
        path = f"{folder}/{name}"
        mode = os.lstat(root + path).st_mode
        if path in _FRESH:
            continue
        if stat.S_ISLNK(mode):
            found.append((path, "link", os.readlink(root + path)))
        elif path.lstrip("/") in HIDDEN_FOLDERS:
            found.append((path, "folder", ""))
        elif stat.S_ISDIR(mode):
            _slice_folder(root, path, points, found)
        elif stat.S_ISREG(mode) and os.access(root + path, os.R_OK) and path not in SECRET_FILES:
            found.append((path, "file", ""))


def _slice_folder(root: str, path: str, points: list[str], found: list[tuple[str, str, str]]) -> None:
    if not os.access(root + path, os.R_OK | os.X_OK) or path == "/lost+found":
        return
    if any(point.startswith(path + "/") for point in points):
        found.append((path, "folder", ""))
        _slice(root, path, points, found)
    else:
        found.append((path, "overlay", ""))


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path or "/")
    except OSError:
        return []


def shadow_text(passwd: str) -> str:
    """An /etc/shadow in which no user of `passwd` (the text of /etc/passwd) has a password, see shadow(5)."""
    names = [line.split(":", 1)[0] for line in passwd.splitlines() if line.count(":") == 6]
    return "".join(f"{name}:*:19000:0:99999:7:::\n" for name in names)
