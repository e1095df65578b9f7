"""Unpacking a tar stream as a root file system or a layer of one, by a process that has made the target its root.

Loaded by a clone of the spawner, never by the spawner: only what `os` and `struct` have, and nothing after the root has changed.
"""

from lxsandbox.images.unpack.apply import FORMS, unpack
from lxsandbox.images.unpack.implied import has_implied, inherit
from lxsandbox.images.unpack.refusal import Refused

__all__ = ["FORMS", "Refused", "has_implied", "inherit", "unpack"]
