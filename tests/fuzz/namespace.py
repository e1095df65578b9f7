"""Being root: of the machine, or in a user namespace of one's own, as what unpacks is where a plain user runs it."""

from __future__ import annotations

import os

from lxsandbox.syscalls.clone import CLONE_NEWUSER, unshare

__all__ = ["become_root", "enter_user_namespace"]


def become_root() -> None:
    """A plain user becomes the root of a user namespace. Before there are threads."""
    if os.geteuid() != 0:
        enter_user_namespace()


def enter_user_namespace() -> None:
    """One in which this user alone is mapped, to root. Raises OSError."""
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
