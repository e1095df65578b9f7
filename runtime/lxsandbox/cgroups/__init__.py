"""Control groups: what a sandbox may use, what it has used, and how all of it is stopped at once.

`open_tree` chooses the kind that this host has; nothing above this package knows which one that is.
"""

from lxsandbox.cgroups.choose import open_tree, remove_leftovers
from lxsandbox.cgroups.machine import Machine
from lxsandbox.cgroups.protocol import Cgroup, CgroupTree, Counters

__all__ = ["Cgroup", "CgroupTree", "Counters", "Machine", "open_tree", "remove_leftovers"]
