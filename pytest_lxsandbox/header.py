"""The one line about the host at the top of a run, from cheap looks alone: nothing is started, written or loaded."""

from __future__ import annotations

import os

import pytest

from pytest_lxsandbox.options import image_cache

__all__ = ["line"]


def line(config: pytest.Config) -> str:
    """Who runs the sandboxes, which cgroups there are, and where images are kept."""
    mode = "root" if os.geteuid() == 0 else "user"
    return f"lxsandbox: {mode}, cgroups {_cgroups()}, image cache {_image_cache(image_cache(config))}"


def _cgroups() -> str:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            # proc_pid_mountinfo(5): the file system's type is the first field after the separator.
            kinds = {row.partition(" - ")[2].split(" ", 1)[0] for row in table}
    except OSError as error:
        return f"none ({error.strerror})"
    match ("cgroup" in kinds, "cgroup2" in kinds):
        case (True, True):
            return "hybrid"
        case (True, False):
            return "v1"
        case (False, True):
            return "v2"
        case _:
            return "none (no cgroup file system is mounted)"


def _image_cache(chosen: str | None) -> str:
    home = os.path.expanduser("~")
    folder = chosen or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache"), "lxsandbox")
    return folder.replace(home, "~", 1) if home != "/" and folder.startswith(home + "/") else folder
