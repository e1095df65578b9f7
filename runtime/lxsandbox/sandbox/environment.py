"""What of this process's surroundings its sandboxes get: folders that image `host` would hide, and two variables."""

from __future__ import annotations

import os
import sys

__all__ = ["shown_folders", "shown_variables"]

# How the terminal is driven and texts are encoded; anything else may be a secret.
_SHOWN_VARIABLES = ("LANG", "TERM")


def shown_folders() -> dict[str, str]:
    """The interpreter and its packages (`ro`), and the folder of the project (`copy`: copy-on-write).

    The service shows those that image `host` would hide, such as a virtual environment below a home folder or /tmp.
    """
    packages = (path for path in sys.path if path and os.path.isabs(path))
    shown = dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *packages), "ro")
    return {os.getcwd(): "copy", **shown}


def shown_variables() -> dict[str, str]:
    """Of this process's environment, what every command in its sandboxes starts from."""
    return {name: os.environ[name] for name in _SHOWN_VARIABLES if name in os.environ}
