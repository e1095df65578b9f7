"""Opening the trees of a plan: detached copies of folders of the host, with the owners and attributes they shall show.

Done by the service where it may shift owners (the host's root), else by init in its own namespaces.
"""

import os
from collections.abc import Sequence

from lxsandbox.syscalls import mounts

TYPE_CHECKING = False  # the spawner loads this module
if TYPE_CHECKING:
    from typing import Any

__all__ = ["open_trees"]


def open_trees(trees: "Sequence[dict[str, Any]]", userns: int | None = None) -> list[int]:
    """A descriptor for each tree. Raises OSError; then none is left open."""
    opened: list[int] = []
    try:
        for tree in trees:
            opened.append(mounts.open_tree(tree["path"], recursive=tree["recursive"]))
            shifted = userns if tree["idmap"] else None
            if shifted is not None or tree["attributes"]:
                mounts.mount_setattr(opened[-1], set_=tree["attributes"], userns_fd=shifted, recursive=tree["recursive"])
    except OSError:
        for fd in opened:
            os.close(fd)
        raise
    return opened
