"""What of this process's surroundings its sandboxes over image `host` see although it lies where the host's secrets do."""

from __future__ import annotations

import os
import sys

__all__ = ["shown_folders"]


def shown_folders() -> dict[str, str]:
    """The interpreter and its packages (`ro`), and the folder of the project (`copy`: copy-on-write).

    The service shows those that image `host` would hide, such as a virtual environment below a home folder or /tmp.
    """
    packages = (path for path in sys.path if path and os.path.isabs(path))
    shown = dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *packages), "ro")
    return {os.getcwd(): "copy", **shown}
