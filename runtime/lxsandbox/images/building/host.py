"""What tells that the host's own files are others than they were: its packages and users."""

from __future__ import annotations

import hashlib
import os

__all__ = ["host_key"]

# The databases of package managers, which change with whatever is installed: dpkg, apk, pacman, rpm (two forms of it).
_FILES = (
    "/etc/os-release",
    "/etc/passwd",
    "/etc/group",
    "/var/lib/dpkg/status",
    "/lib/apk/db/installed",
    "/var/lib/pacman/local",
    "/var/lib/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
)


def host_key() -> str:
    """A key that is the same for as long as nothing is installed on the host, removed, or upgraded."""
    hasher = hashlib.sha256()
    for path in _FILES:
        try:
            found = os.stat(path)
        except OSError:
            continue
        hasher.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode())
    return f"host:{hasher.hexdigest()}"
